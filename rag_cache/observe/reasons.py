"""Why an answer was not a hit, was not kept, or went astray: in four languages."""

from collections.abc import Mapping
from typing import Final

# English, Chinese, Japanese, Portuguese; by the core's own word for it.
REASONS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "absent": ("not asked before", "首次提问", "初めての質問", "nova"),
    "expired": ("expired", "已过期", "期限切れ", "vencida"),
    "invalidated": ("invalidated", "已失效", "無効化済み", "invalidada"),
    "corrupt": ("could not be read", "无法读取", "読み取り不可", "ilegível"),
    "refresh": (
        "asked anew",
        "要求刷新",
        "更新の指定",
        "pedido de atualização",
    ),
    "stale": (
        "hit, refreshed behind",
        "命中（后台刷新）",
        "ヒット（裏で更新）",
        "acerto, renovado",
    ),
    "late": (
        "stale, the model was late",
        "旧回答（模型首字过慢）",
        "旧回答（モデルが遅延）",
        "antiga, o modelo tardou",
    ),
    "meaning": (
        "hit in other words",
        "命中（同义问题）",
        "ヒット（言い換え）",
        "acerto em outras palavras",
    ),
    "mode_off": (
        "cache turned off here",
        "此处已关闭缓存",
        "キャッシュ無効",
        "cache desligado aqui",
    ),
    "bypass_asked": (
        "cache not to be used here",
        "要求绕过",
        "迂回の指定",
        "pedido de desvio",
    ),
    "switched_off": (
        "switched off for all",
        "已全部关闭",
        "全体で停止中",
        "desligado para todos",
    ),
    "conversation": ("has history", "含历史消息", "履歴あり", "tem histórico"),
    "tools_offered": (
        "offers tools",
        "提供了工具",
        "ツールあり",
        "oferece ferramentas",
    ),
    "external_url": (
        "a file by URL",
        "含外部文件 URL",
        "URL のファイル",
        "arquivo por URL",
    ),
    "temperature": (
        "temperature too high",
        "温度过高",
        "温度が高い",
        "temperatura alta",
    ),
    "no_scope_id": (
        "no app or user named",
        "缺少应用或用户",
        "アプリ・利用者が不明",
        "sem app ou usuário",
    ),
    "unkeyable": (
        "no key could be made",
        "无法生成键",
        "キー作成不可",
        "sem chave possível",
    ),
    "cache_unavailable": (
        "Redis did not answer",
        "Redis 不可用",
        "Redis 停止中",
        "Redis fora",
    ),
    "empty": ("empty", "为空", "空", "vazia"),
    "too_large": ("too large", "过大", "大きすぎる", "grande demais"),
    "finish_reason": (
        "cut or filtered",
        "被截断或过滤",
        "中断・フィルター",
        "cortada ou filtrada",
    ),
    "tool_calls": ("calls tools", "调用工具", "ツール呼び出し", "chama ferramentas"),
    "invalid_output": ("not valid", "无效", "無効な出力", "inválida"),
    "superseded": (
        "overtaken by a newer one",
        "被更新的回答取代",
        "新しい回答に置換",
        "superada",
    ),
}
