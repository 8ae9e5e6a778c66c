"""What Dify's panels show of a model: features, properties and parameters.

A parameter without a rule here never reaches the plugin: the SDK drops it
(host contract 5.3). So the cache's three parameters are rules like the others.
"""

from decimal import Decimal
from typing import Any, Final

from dify_plugin.entities import I18nObject
from dify_plugin.entities.model import (
    AIModelEntity,
    FetchFrom,
    ModelFeature,
    ModelPropertyKey,
    ModelType,
    ParameterRule,
    ParameterType,
    PriceConfig,
)

from cachecore.policy import Control
from cached_model.form import Form

_RULES: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "temperature",
        "type": ParameterType.FLOAT,
        "default": 0.7,
        "min": 0,
        "max": 2,
        "precision": 2,
        "label": ("Temperature", "温度", "温度", "Temperatura"),
        "help": (
            "Higher values make answers more varied, lower ones more predictable.",
            "值越高回答越多样，值越低回答越稳定。",
            "高いほど回答が多様に、低いほど安定します。",
            "Valores altos variam mais as respostas; baixos as tornam previsíveis.",
        ),
    },
    {
        "name": "top_p",
        "type": ParameterType.FLOAT,
        "default": 1,
        "min": 0,
        "max": 1,
        "precision": 2,
        "label": ("Top P", "Top P", "Top P", "Top P"),
        "help": (
            "Considers only the most likely words up to this total probability.",
            "只考虑累计概率达到该值的最可能的词。",
            "累積確率がこの値までの候補だけを使います。",
            "Considera só as palavras mais prováveis até esta probabilidade total.",
        ),
    },
    {
        "name": "presence_penalty",
        "type": ParameterType.FLOAT,
        "default": 0,
        "min": -2,
        "max": 2,
        "precision": 2,
        "label": (
            "Presence Penalty",
            "存在惩罚",
            "存在ペナルティ",
            "Penalidade de presença",
        ),
        "help": (
            "Positive values push the model towards new topics.",
            "正值会促使模型谈论新话题。",
            "正の値は新しい話題を促します。",
            "Valores positivos levam o modelo a novos assuntos.",
        ),
    },
    {
        "name": "frequency_penalty",
        "type": ParameterType.FLOAT,
        "default": 0,
        "min": -2,
        "max": 2,
        "precision": 2,
        "label": (
            "Frequency Penalty",
            "频率惩罚",
            "頻度ペナルティ",
            "Penalidade de frequência",
        ),
        "help": (
            "Positive values make the model repeat itself less.",
            "正值会减少模型的重复。",
            "正の値は繰り返しを減らします。",
            "Valores positivos fazem o modelo repetir-se menos.",
        ),
    },
    {
        "name": "max_tokens",
        "type": ParameterType.INT,
        "default": 512,
        "min": 1,
        "label": ("Max Tokens", "最大 Token 数", "最大トークン数", "Máximo de tokens"),
        "help": (
            "The answer ends at this length. A cut answer is shown but never cached.",
            "回答到此长度即结束。被截断的回答会显示，但不会被缓存。",
            "回答はこの長さで終わります。途中で切れた回答は表示されますがキャッシュされません。",
            "A resposta termina neste tamanho. Uma resposta cortada nunca vai ao cache.",
        ),
    },
    {
        "name": "seed",
        "type": ParameterType.INT,
        "label": ("Seed", "随机种子", "シード", "Semente"),
        "help": (
            "Asks the server for the same answer to the same request.",
            "请求服务器对相同的请求给出相同的回答。",
            "同じリクエストに同じ回答を返すようサーバーに求めます。",
            "Pede ao servidor a mesma resposta para o mesmo pedido.",
        ),
    },
    {
        "name": "response_format",
        "type": ParameterType.STRING,
        "options": ["text", "json_object"],
        "label": ("Response Format", "回复格式", "応答形式", "Formato da resposta"),
        "help": (
            "The form that the answer must have.",
            "回答必须采用的格式。",
            "回答の形式です。",
            "A forma que a resposta deve ter.",
        ),
    },
    {
        "name": "json_schema",
        "type": ParameterType.TEXT,
        "label": ("JSON Schema", "JSON Schema", "JSON Schema", "JSON Schema"),
        "help": (
            "The schema of the answer, for the response format json_schema.",
            "当回复格式为 json_schema 时，回答须符合的模式。",
            "応答形式が json_schema のときのスキーマです。",
            "O esquema da resposta, para o formato json_schema.",
        ),
    },
    {
        "name": "cache_control",
        "type": ParameterType.STRING,
        "default": Control.DEFAULT.value,
        "options": [control.value for control in Control],
        "label": ("Cache Control", "缓存控制", "キャッシュ制御", "Controle do cache"),
        "help": (
            "bypass: ask the model, keep nothing. refresh: ask the model, replace what "
            "is kept. only: never ask the model. always: cache this node even with "
            "history or tools.",
            "bypass：直接询问模型且不保存。refresh：询问模型并替换缓存。only：从不询问模型。"
            "always：即使有历史消息或工具也缓存此节点。",
            "bypass：モデルに尋ね保存しない。refresh：モデルに尋ね置き換える。only：モデルに尋ねない。"
            "always：履歴やツールがあってもキャッシュする。",
            "bypass: pergunta ao modelo e nada guarda. refresh: pergunta e substitui. "
            "only: nunca pergunta. always: usa o cache mesmo com histórico ou ferramentas.",
        ),
    },
    {
        "name": "cache_ttl",
        "type": ParameterType.STRING,
        "label": ("Cache TTL", "缓存时长", "キャッシュ期間", "Duração do cache"),
        "help": (
            "How long this node's answers live: volatile, faq, policy or seconds.",
            "此节点回答的有效期：volatile、faq、policy 或秒数。",
            "このノードの回答の有効期間：volatile、faq、policy または秒数。",
            "Quanto vivem as respostas deste nó: volatile, faq, policy ou segundos.",
        ),
    },
    {
        "name": "cache_tags",
        "type": ParameterType.STRING,
        "label": ("Cache Tags", "缓存标签", "キャッシュタグ", "Etiquetas do cache"),
        "help": (
            "Names separated by commas, by which these answers can be invalidated.",
            "以逗号分隔的名称，可按名称使这些回答失效。",
            "カンマ区切りの名前。この名前で回答を無効にできます。",
            "Nomes separados por vírgulas, pelos quais as respostas são invalidadas.",
        ),
    },
)


def model_schema(model: str, form: Form) -> AIModelEntity:
    """The model as the form describes it. The SDK asks for it on every call."""
    schema = form.schemas.get(model)
    if schema is None:
        schema = form.schemas[model] = _build(model, form)
    return schema


def _build(model: str, form: Form) -> AIModelEntity:
    price = form.settings.options.price
    return AIModelEntity(
        model=model,
        label=I18nObject(en_us=model),
        model_type=ModelType.LLM,
        fetch_from=FetchFrom.CUSTOMIZABLE_MODEL,
        features=_features(form),
        model_properties={
            ModelPropertyKey.CONTEXT_SIZE: form.context_size,
            ModelPropertyKey.MODE: form.mode,
        },
        parameter_rules=[_rule(rule, form) for rule in _RULES],
        pricing=PriceConfig(
            input=Decimal(str(price.input)),
            output=Decimal(str(price.output)),
            unit=Decimal(1) / Decimal(price.per),
            currency=price.currency,
        ),
    )


def _features(form: Form) -> list[ModelFeature]:
    offered = {
        ModelFeature.TOOL_CALL: form.tool_style == "function_call",
        ModelFeature.MULTI_TOOL_CALL: form.tool_style == "tool_call",
        ModelFeature.STREAM_TOOL_CALL: form.stream_tool_calls,
        ModelFeature.VISION: form.vision,
        ModelFeature.STRUCTURED_OUTPUT: form.structured_output,
        ModelFeature.AGENT_THOUGHT: form.thoughts != "not_supported",
    }
    return [feature for feature, has in offered.items() if has]


def _rule(rule: dict[str, Any], form: Form) -> ParameterRule:
    changed: dict[str, Any] = {
        "label": _i18n(rule["label"]),
        "help": _i18n(rule["help"]),
    }
    if rule["name"] == "max_tokens":
        changed["max"] = form.max_tokens_to_sample
        changed["default"] = min(rule["default"], form.max_tokens_to_sample)
    if rule["name"] == "response_format" and form.structured_output:
        changed["options"] = [*rule["options"], "json_schema"]
    return ParameterRule(**{**rule, **changed})


def _i18n(texts: tuple[str, str, str, str]) -> I18nObject:
    en_us, zh_hans, ja_jp, pt_br = texts
    return I18nObject(en_us=en_us, zh_hans=zh_hans, ja_jp=ja_jp, pt_br=pt_br)
