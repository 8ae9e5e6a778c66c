"""The parameters that an LLM node's panel shows, in four languages.

A parameter without a rule here never reaches the plugin: the SDK drops it
(host contract 5.3). So the cache's three parameters are rules like the others.
"""

from collections.abc import Mapping
from typing import Any, Final

from dify_plugin.entities.model import ParameterType

from cachecore.policy import Control

# What the panel offers, in words that a builder knows; Dify shows values as they are.
CONTROLS: Final[Mapping[str, Control]] = {
    "automatic": Control.DEFAULT,
    "always": Control.ALWAYS,
    "never": Control.BYPASS,
    "ask anew": Control.REFRESH,
    "only kept answers": Control.ONLY,
}

# Only for models that may think.
OF_THINKING: Final = ("enable_thinking", "reasoning_format", "reasoning_effort")

RULES: Final[tuple[dict[str, Any], ...]] = (
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
        "options": ["text", "json_object", "json_schema"],
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
        "name": "enable_thinking",
        "type": ParameterType.BOOLEAN,
        "label": ("Thinking", "思考模式", "思考モード", "Raciocínio"),
        "help": (
            "Off hides the reasoning. In the extended compatibility mode of the model's "
            "form, the server is told as well, and saves the time.",
            "关闭时隐藏思考过程。若模型表单使用扩展兼容模式，也会告知服务器，从而节省时间。",
            "オフでは思考過程を隠します。モデルのフォームが拡張互換モードならサーバーにも伝わり、時間が省けます。",
            "Desligado esconde o raciocínio. No modo de compatibilidade estendido do "
            "formulário, o servidor também é avisado e poupa o tempo.",
        ),
    },
    {
        "name": "reasoning_format",
        "type": ParameterType.STRING,
        "options": ["none", "auto", "deepseek", "deepseek-legacy"],
        "label": (
            "Reasoning Format",
            "推理格式",
            "推論の形式",
            "Formato do raciocínio",
        ),
        "help": (
            "How llama.cpp writes the reasoning. Sent in the extended mode only.",
            "llama.cpp 输出推理的格式，仅在扩展模式下发送。",
            "llama.cpp が推論を書く形式。拡張モードでのみ送ります。",
            "Como o llama.cpp escreve o raciocínio. Só no modo estendido.",
        ),
    },
    {
        "name": "reasoning_effort",
        "type": ParameterType.STRING,
        "options": ["minimal", "low", "medium", "high"],
        "label": (
            "Reasoning Effort",
            "推理强度",
            "推論の強さ",
            "Esforço de raciocínio",
        ),
        "help": (
            "How long a reasoning model may think.",
            "推理模型可以思考多久。",
            "推論モデルがどれだけ考えるか。",
            "Quanto um modelo de raciocínio pode pensar.",
        ),
    },
    {
        "name": "cache_control",
        "type": ParameterType.STRING,
        "default": "automatic",
        "options": list(CONTROLS),
        "label": (
            "Cache: when to use it",
            "缓存：何时使用",
            "キャッシュ：いつ使うか",
            "Cache: quando usar",
        ),
        "help": (
            "automatic: for questions that stand alone; conversations, tools, files by URL "
            "and high temperatures ask the model. always: for these too. never: ask the "
            "model and keep nothing. ask anew: ask the model and replace what is kept. only "
            "kept answers: never ask the model.",
            "automatic：用于独立的问题；对话、工具、URL 文件和高温度会询问模型。"
            "always：这些也使用缓存。"
            "never：询问模型且不保存。ask anew：询问模型并替换缓存。"
            "only kept answers：从不询问模型。",
            "automatic：単独の質問に使います。会話、ツール、URL のファイル、"
            "高い温度ではモデルに尋ねます。"
            "always：それらにも使います。never：モデルに尋ね保存しません。"
            "ask anew：モデルに尋ねて置き換えます。"
            "only kept answers：モデルに尋ねません。",
            "automatic: para perguntas independentes; conversas, ferramentas, arquivos por URL "
            "e temperaturas altas perguntam ao modelo. always: para esses também. never: "
            "pergunta ao modelo e nada guarda. ask anew: pergunta e substitui. only kept "
            "answers: nunca pergunta ao modelo.",
        ),
    },
    {
        "name": "cache_ttl",
        "type": ParameterType.STRING,
        "default": "as in the form",
        "options": [
            "as in the form",
            "5 minutes",
            "1 hour",
            "6 hours",
            "24 hours",
            "7 days",
        ],
        "label": (
            "Cache: kept for",
            "缓存：保留时间",
            "キャッシュ：保存期間",
            "Cache: guardar por",
        ),
        "help": (
            "How long this node's answers may be served, and how old one may be that it is "
            "given.",
            "此节点的答案可用多久，以及可接受多旧的答案。",
            "このノードの回答を使える期間。受け取る回答の古さの上限でもあります。",
            "Por quanto tempo servem as respostas deste nó, e quão velha pode ser a que recebe.",
        ),
    },
    {
        "name": "cache_tags",
        "type": ParameterType.STRING,
        "label": (
            "Cache: tags",
            "缓存：标签",
            "キャッシュ：タグ",
            "Cache: etiquetas",
        ),
        "help": (
            "Names separated by commas, by which these answers can be invalidated.",
            "以逗号分隔的名称，可按名称使这些回答失效。",
            "カンマ区切りの名前。この名前で回答を無効にできます。",
            "Nomes separados por vírgulas, pelos quais as respostas são invalidadas.",
        ),
    },
)
