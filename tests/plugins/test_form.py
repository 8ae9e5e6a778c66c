"""The credential form: each wrong value is one sentence, on save."""

from pathlib import Path

import pytest
import yaml
from dify_plugin.errors.model import CredentialsValidateFailedError

from cached_model import address, chat, check
from cached_model import form as forms
from tests.fake_upstream import FakeUpstream, Script

ROOT = Path(__file__).parents[2]
YAML = yaml.safe_load(
    (ROOT / "plugins/cached-model/provider/cached_model.yaml").read_text("utf-8")
)
FIELDS = {
    f["variable"]: f for f in YAML["model_credential_schema"]["credential_form_schemas"]
}


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("https://api.openai.com/", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        (" https://api.openai.com/v1/ ", "https://api.openai.com/v1"),
        ("http://host:8000/v1/chat/completions", "http://host:8000/v1"),
        ("http://host/compatible-mode/v1", "http://host/compatible-mode/v1"),
        ("http://host/api", "http://host/api"),
        ("https://api.perplexity.ai/chat/completions", "https://api.perplexity.ai"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("HTTP://Host/V1", "http://host/V1"),
    ],
)
def test_a_base_url_is_taken_with_and_without_v1(text: str, base: str) -> None:
    assert address.read_base_url(text.strip()) == base


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("endpoint_url", "", "is required"),
        ("endpoint_url", "api.openai.com", "must begin with http"),
        ("endpoint_url", "ftp://host", "must begin with http"),
        ("endpoint_url", "http://", "has no host"),
        ("endpoint_url", "http://host:port", "makes no sense"),
        ("endpoint_url", "http://host:99999", "makes no sense"),
        ("endpoint_url", "http://me:pw@host", "must not hold a user name"),
        ("endpoint_url", "http://host/v1?key=x", "must not have a ?"),
        ("api_key", "schlüssel", "paste it again"),
        ("api_key", "two\nlines", "paste it again"),
        ("mode", "talk", "chat, completion"),
        ("context_size", "many", "whole number of tokens"),
        ("context_size", "0", "whole number of tokens"),
        ("context_size", "9" * 5000, "whole number of tokens"),
        ("extra_headers", "[" * 100_000, "must be a JSON object"),
        ("display_name", "\ud800", "type the fields again"),
        ("max_tokens_to_sample", "-1", "whole number of tokens"),
        ("max_chunks", "0", "whole number of texts from 1 to 2048"),
        ("encoding_format", "base64", "not_set, float"),
        ("compatibility_mode", "loose", "strict, extended"),
        ("stream_mode_auth", "yes", "not_use, use"),
        ("video_support", "yes", "no_support, support"),
        ("audio_support", "yes", "no_support, support"),
        ("document_support", "yes", "no_support, support"),
        ("function_calling_type", "yes", "no_call, tool_call, function_call"),
        ("stream_function_calling", "yes", "not_supported, supported"),
        ("vision_support", "yes", "no_support, support"),
        ("structured_output_support", "yes", "not_supported, supported"),
        ("agent_thought_support", "yes", "only_thinking_supported"),
        ("token_param_name", "tokens", "max_completion_tokens"),
        ("user_identity_support", "yes", "no_support, support"),
        ("stream_include_usage", "yes", "enabled, disabled"),
        ("extra_headers", "X-Team: a", "must be a JSON object"),
        ("extra_headers", "[1]", "must be a JSON object"),
        ("extra_headers", '{"X Team": "a"}', "not a header's name"),
        ("extra_headers", '{"X-Team": 1}', "not plain text"),
        ("extra_headers", '{"X-Team": "a\\nB: c"}', "not plain text"),
        ("extra_headers", '{"Content-Length": "2"}', "belongs to the connection"),
        ("extra_headers", '{"transfer-encoding": "x"}', "belongs to the connection"),
        ("redis_url", "localhost:6379", "must begin with redis://"),
        ("redis_url", "redis://host:port", "port"),
        ("cache_namespace", "a/b", "letters, digits"),
        ("cache_ttl", "soon", "5 minutes, 1 hour or 7 days"),
        ("cache_scope", "world", "shared, app, user"),
        ("cache_secret", "short", "at least 12"),
        ("cache_options", "max_temprature: 1", "did you mean max_temperature?"),
        ("cache_options", "deadline: 5", "did you mean deadline_seconds?"),
        ("cache_options", "deadline_seconds: 5000", "from 1 to 600"),
    ],
)
def test_each_wrong_value_is_refused_on_save_with_a_sentence_that_names_it(
    form: dict[str, str], field: str, value: str, says: str
) -> None:
    with pytest.raises(CredentialsValidateFailedError) as raised:
        check.check("m", form | {field: value}, chat.ping)
    sentence = str(raised.value)
    if field != "display_name":
        label = FIELDS[field]["label"]["en_US"].partition(" (")[0]
        assert sentence.lower().startswith(f"{label} ({field})".lower())
    assert says in sentence
    assert "\n" not in sentence
    assert sentence[-1] in ".?"


def test_a_good_form_is_saved_and_asks_the_upstream_once(
    upstream: FakeUpstream, form: dict[str, str], redis_url: str
) -> None:
    form |= {"redis_url": redis_url, "cache_options": "redis_timeout_ms: 2000"}
    check.check("m", form, chat.ping)
    assert upstream.calls == 1
    assert upstream.headers[0]["Authorization"] == "Bearer the-key"


def test_a_bad_upstream_is_one_sentence(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(status=401)
    with pytest.raises(
        CredentialsValidateFailedError, match=r"HTTP 401; check API Key \(api_key\)"
    ):
        check.check("m", form, chat.ping)


def test_a_bad_redis_is_one_sentence_without_its_password(form: dict[str, str]) -> None:
    form |= {"redis_url": "redis://:hunter2hunter2@127.0.0.1:9"}
    with pytest.raises(CredentialsValidateFailedError) as raised:
        check.check("m", form, chat.ping)
    assert str(raised.value).startswith(
        "Redis URL (redis_url): Redis at 127.0.0.1:9 could not be"
    )
    assert "hunter2" not in str(raised.value)


def test_a_missing_namespace_is_named(form: dict[str, str], redis_url: str) -> None:
    form |= {"redis_url": redis_url, "cache_namespace": ""}
    with pytest.raises(CredentialsValidateFailedError, match="cache_namespace"):
        check.check("m", form, chat.ping)


# --- the form itself ----------------------------------------------------------


def test_the_form_fits_the_hosts_limits() -> None:
    entries = YAML["model_credential_schema"]["credential_form_schemas"]
    assert len(entries) <= 32
    assert len({entry["variable"] for entry in entries}) == len(entries)
    for entry in entries:
        assert isinstance(entry["required"], bool), entry["variable"]
        assert isinstance(entry.get("default", ""), str), entry["variable"]
        assert entry["type"] in ("text-input", "secret-input", "select")
        assert entry["help"]["en_US"] != entry["label"]["en_US"]
        assert ("options" in entry) == (entry["type"] == "select")
        # A default fills its field, so that nobody would see a placeholder.
        assert ("placeholder" in entry) == ("default" not in entry)
        for option in entry.get("options", []):
            assert isinstance(option["value"], str)
            assert option["value"]


def test_common_fields_come_first_and_the_rest_is_hidden_by_one_choice() -> None:
    entries = YAML["model_credential_schema"]["credential_form_schemas"]
    names = [entry["variable"] for entry in entries]
    first = names[: names.index("more_settings")]
    assert first[:8] == [
        *("api_key", "endpoint_url", "endpoint_model_name", "context_size"),
        *("redis_url", "cache_namespace", "cache_ttl", "cache_scope"),
    ]
    assert len(first) <= 14
    assert FIELDS["more_settings"]["default"] == "hidden"
    shown = {"variable": "more_settings", "value": "shown"}
    for entry in entries[len(first) + 1 :]:
        assert shown in entry["show_on"], entry["variable"]
        assert not entry["required"], entry["variable"]


def test_a_label_is_a_thought_of_its_own() -> None:
    """Dify before 1.17 shows no help, and a select has no placeholder."""
    for field in FIELDS.values():
        if field["type"] == "select":
            assert len(field["label"]["en_US"].split()) >= 4, field["variable"]


def test_every_default_of_the_form_is_a_value_that_it_accepts(
    form: dict[str, str],
) -> None:
    defaults = {
        name: field["default"] for name, field in FIELDS.items() if "default" in field
    }
    forms.read(defaults | form)


def test_every_option_of_the_form_is_a_value_that_it_accepts(
    form: dict[str, str],
) -> None:
    for name, field in FIELDS.items():
        for option in field.get("options", []):
            forms.read(form | {name: option["value"]})


def test_secrets_are_secret_inputs() -> None:
    secret = {name for name, field in FIELDS.items() if field["type"] == "secret-input"}
    assert secret == {"api_key", "extra_headers", "redis_url", "cache_secret"}


def test_a_form_shows_no_secret(form: dict[str, str]) -> None:
    form |= {
        "extra_headers": '{"x": "hunter2hunter2"}',
        "cache_secret": "hunter2hunter2",
    }
    form |= {"redis_url": "redis://:hunter2hunter2@h", "api_key": "hunter2hunter2"}
    assert "hunter2" not in repr(forms.read(form))
