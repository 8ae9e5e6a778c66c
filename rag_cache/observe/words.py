"""The words of the dashboard, in the languages of Dify's users."""

from collections.abc import Mapping
from typing import Final

from rag_cache.observe.reasons import REASONS

LANGUAGES: Final = ("en-US", "zh-Hans", "ja-JP", "pt-BR")
_WORDS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "title": ("Answer Cache", "回答缓存", "回答キャッシュ", "Cache de respostas"),
    "namespace": ("namespace", "命名空间", "名前空間", "namespace"),
    "1h": ("Last hour", "最近 1 小时", "直近1時間", "Última hora"),
    "24h": ("Last 24 hours", "最近 24 小时", "直近24時間", "Últimas 24 horas"),
    "7d": ("Last 7 days", "最近 7 天", "直近7日", "Últimos 7 dias"),
    "hit_rate": ("Hit rate", "命中率", "ヒット率", "Taxa de acertos"),
    "of_looked_up": (
        *("of {count} looked up", "共查询 {count} 次", "{count} 件の検索中"),
        "de {count} consultas",
    ),
    "saved_money": ("Money saved", "节省费用", "節約した金額", "Dinheiro poupado"),
    "no_price": (
        "set price in Cache Options",
        "请在缓存选项中设置 price",
        "キャッシュオプションで price を設定",
        "defina price nas opções do cache",
    ),
    "saved_seconds": (
        "Waiting saved",
        "节省等待",
        "節約した待ち時間",
        "Espera poupada",
    ),
    "saved_tokens": (
        "Tokens saved",
        "节省 Token",
        "節約したトークン",
        "Tokens poupados",
    ),
    "shared_loads": ("Shared loads", "合并请求", "相乗り", "Cargas compartilhadas"),
    "stale_for_error": (
        *("{count} stale for an error", "{count} 次以旧回答代替错误"),
        *("エラー時の旧回答 {count} 件", "{count} antigas por erro"),
    ),
    "over_time": (
        *("Requests and hit rate", "请求与命中率", "リクエストとヒット率"),
        "Pedidos e taxa de acertos",
    ),
    "times_in": ("Times in", "时间：", "時刻：", "Horários em"),
    "hits": ("hits", "命中", "ヒット", "acertos"),
    "misses": ("misses", "未命中", "ミス", "falhas"),
    "uncached": ("not looked up", "未查询", "検索なし", "não consultados"),
    "latency": (
        "Time to the first token",
        "首个 Token 用时",
        "最初のトークンまでの時間",
        "Tempo até o primeiro token",
    ),
    "whole": ("Whole answer", "完整回答", "回答全体", "Resposta inteira"),
    "hit": ("hit", "命中", "ヒット", "acerto"),
    "miss": ("miss", "未命中", "ミス", "falha"),
    "stages": (
        *("Where the time of an answer goes", "回答时间的构成", "回答時間の内訳"),
        "Para onde vai o tempo",
    ),
    "average": ("on average", "平均值", "平均", "em média"),
    "key": ("make the key", "生成键", "キーの作成", "fazer a chave"),
    "look_up": ("ask Redis", "查询 Redis", "Redis への照会", "consultar o Redis"),
    "upstream_first_token": (
        *("model, first token", "模型首个 Token", "モデルの最初のトークン"),
        "modelo, primeiro token",
    ),
    "upstream_whole": (
        *("model, whole answer", "模型完整回答", "モデルの回答全体"),
        "modelo, resposta inteira",
    ),
    "why": (
        "Why answers did not come from the cache",
        "为何未从缓存回答",
        "キャッシュから回答されなかった理由",
        "Por que não veio do cache",
    ),
    "not_kept": (
        *("Why answers were not kept", "为何未保存回答", "回答が保存されなかった理由"),
        "Por que não foram guardadas",
    ),
    "apart": (
        "What kept repeated questions apart",
        "重复的问题为何未命中",
        "同じ質問がヒットしなかった原因",
        "O que separou perguntas repetidas",
    ),
    "part_system": (
        "system prompt",
        "系统提示词",
        "システムプロンプト",
        "prompt de sistema",
    ),
    "part_history": ("history", "历史消息", "履歴", "histórico"),
    "part_question": ("question", "问题", "質問", "pergunta"),
    "part_parameters": ("parameters", "参数", "パラメータ", "parâmetros"),
    "part_tools": ("tools", "工具", "ツール", "ferramentas"),
    "part_context": (
        *("files, context, tags", "文件、上下文、标签", "ファイル・文脈・タグ"),
        "arquivos, contexto, tags",
    ),
    "advice_system": (
        "The system prompt differed in {share} of the repeated questions. Does it hold the time, "
        "a name or retrieved text? Move what changes out of it.",
        "在 {share} 的重复问题中系统提示词不同：是否含有时间、姓名或检索内容？请移出变化部分。",
        "繰り返された質問の {share} でシステムプロンプトが異なります。時刻・名前・検索結果が入って"
        "いませんか？変わる部分を外に出してください。",
        "Diferente em {share} das perguntas repetidas: o prompt de sistema tem relógio, nome ou "
        "texto recuperado? Tire dele o que muda.",
    ),
    "advice_history": (
        "The history differed in {share} of the repeated questions. Ask for the answer in a node "
        "without memory.",
        "在 {share} 的重复问题中历史消息不同：请在不带记忆的节点中提问。",
        "繰り返された質問の {share} で履歴が異なります。メモリなしのノードで質問してください。",
        "Diferente em {share} das perguntas repetidas: pergunte em um nó sem memória.",
    ),
    "advice_parameters": (
        "The parameters differed in {share} of the repeated questions. Give nodes the same "
        "parameters, and apps only the inputs that the answer needs.",
        "在 {share} 的重复问题中参数不同：请统一各节点参数，只向应用传入必要的输入。",
        "繰り返された質問の {share} でパラメータが異なります。同じ値にし、必要な入力だけを渡して"
        "ください。",
        "Diferente em {share} das perguntas repetidas: use os mesmos parâmetros e só as entradas "
        "de que a resposta precisa.",
    ),
    "advice_tools": (
        "The tools differed in {share} of the repeated questions. Offer the same tools in the "
        "same order.",
        "在 {share} 的重复问题中工具不同：请以相同顺序提供相同的工具。",
        "繰り返された質問の {share} でツールが異なります。同じツールを同じ順で渡してください。",
        "Diferente em {share} das perguntas repetidas: ofereça as mesmas ferramentas, na mesma "
        "ordem.",
    ),
    "advice_context": (
        "Files, context or tags differed in {share} of the repeated questions. A key, tag or file "
        "that holds a time or a user keeps answers apart.",
        "在 {share} 的重复问题中上下文不同：含时间或用户的键、标签或文件会使回答无法共用。",
        "繰り返された質問の {share} で文脈が異なります。時刻や利用者を含むキー・タグ・ファイルは"
        "回答を分けます。",
        "Diferente em {share} das perguntas repetidas: uma chave, tag ou arquivo com hora ou "
        "usuário separa as respostas.",
    ),
    "audits": (
        "Are the hits still right?",
        "命中的回答是否仍然正确？",
        "ヒットした回答は今も正しいか",
        "Os acertos ainda estão certos?",
    ),
    "audit_right": ("the same", "相同", "同じ", "iguais"),
    "audit_wrong": ("different", "不同", "異なる", "diferentes"),
    "audit_failed": ("could not be compared", "无法比较", "比較不可", "sem comparação"),
    "audit_rate": (
        "{rate} were different; with 95 % confidence {low} to {high}.",
        "{rate} 不同；95% 置信区间为 {low} 至 {high}。",
        "{rate} が異なりました（95% 信頼区間 {low}～{high}）。",
        "{rate} eram diferentes; com 95 % de confiança, {low} a {high}.",
    ),
    "meaning_compared": (
        "Questions in other words, compared",
        "同义问题的回答对比",
        "言い換えの回答の比較",
        "Em outras palavras, comparadas",
    ),
    "meaning_would_save": (
        "Serving those that were right would have saved {time} of waiting.",
        "若直接使用正确的回答，可节省 {time} 的等待。",
        "正しかったものを返していれば、{time} の待ち時間を節約できました。",
        "Servir as que estavam certas teria poupado {time} de espera.",
    ),
    "bands": (
        "Questions in other words, by model and app",
        "同义问题（按模型与应用）",
        "言い換えの質問（モデル・アプリ別）",
        "Em outras palavras, por modelo e app",
    ),
    "scores": ("score", "得分", "スコア", "pontuação"),
    "right_ones": ("the same", "相同", "同じ", "iguais"),
    "wrong_ones": ("different", "不同", "異なる", "diferentes"),
    "state": ("state", "状态", "状態", "estado"),
    "band_serves": ("serves", "已启用", "提供中", "serve"),
    "band_locked": ("locked", "已锁定", "ロック中", "bloqueada"),
    "band_compares": (
        "compares; {count} more right ones open it",
        "仅对比；再有 {count} 次一致即启用",
        "比較のみ。あと {count} 回一致すると提供します",
        "só compara; mais {count} certas a abrem",
    ),
    "score": (
        "score from {score}",
        "得分 ≥ {score}",
        "スコア {score} 以上",
        "pontuação de {score}",
    ),
    "audits_by_age": (
        "Different answers, by age",
        "不同的回答（按保留时间）",
        "異なった回答（経過時間別）",
        "Respostas diferentes, por idade",
    ),
    "younger": ("up to {time}", "不超过 {time}", "{time} まで", "até {time}"),
    "older": ("older", "更久", "それ以上", "mais velhas"),
    "audit_hint": (
        "Fewer than 1 % were different among those younger than {time}.",
        "保留时间短于 {time} 的回答中，不同的少于 1%。",
        "{time} より新しいものでは、異なるのは 1% 未満でした。",
        "Menos de 1 % eram diferentes entre os mais novos que {time}.",
    ),
    "provider": (
        "Prompt tokens sent to the model",
        "发送给模型的提示词 Token",
        "モデルに送ったプロンプトのトークン",
        "Tokens de prompt enviados ao modelo",
    ),
    "provider_fresh": ("at full price", "全价", "通常料金", "a preço cheio"),
    "provider_cached": (
        "from the provider's cache",
        "来自供应商缓存",
        "提供元のキャッシュから",
        "do cache do provedor",
    ),
    "provider_written": (
        "written to its cache",
        "写入供应商缓存",
        "提供元のキャッシュへ",
        "gravados no cache dele",
    ),
    "provider_saved": (
        "The provider's own cache saved",
        "供应商自身缓存节省",
        "提供元のキャッシュによる節約",
        "O cache do provedor poupou",
    ),
    "prefix_system": (
        "The system prompt differed from one request to the next in {share}, so the provider's "
        "own cache can't reuse it. Move what changes (the time, a name) to its end.",
        "{share} 的请求中系统提示词与前一次不同，供应商缓存无法复用。"
        "请把变化的部分（时间、姓名）移到末尾。",
        "{share} のリクエストでシステムプロンプトが直前と異なり、提供元のキャッシュが使えません。"
        "変わる部分（時刻、名前）を末尾に移してください。",
        "Em {share} dos pedidos o prompt de sistema diferiu do anterior, e o cache do provedor não "
        "o reaproveita. Leve o que muda (hora, nome) para o fim.",
    ),
    "prefix_tools": (
        "The tools differed from one request to the next in {share}, so the provider's own cache "
        "can't reuse the prompt. Offer the same tools in the same order.",
        "{share} 的请求中工具与前一次不同，供应商缓存无法复用提示词。请以相同顺序提供相同的工具。",
        "{share} のリクエストでツールが直前と異なり、提供元のキャッシュが使えません。"
        "同じツールを同じ順で渡してください。",
        "Em {share} dos pedidos as ferramentas diferiram das anteriores, e o cache do provedor não "
        "reaproveita o prompt. Ofereça as mesmas, na mesma ordem.",
    ),
    "redis": ("Redis", "Redis", "Redis", "Redis"),
    "redis_down": (
        "Redis does not answer; answers come from the models.",
        "Redis 无响应；回答由模型直接给出。",
        "Redis が応答しません。回答はモデルから届きます。",
        "O Redis não responde; as respostas vêm dos modelos.",
    ),
    "unknown": (
        "INFO is not allowed to this user of Redis",
        "该 Redis 用户无权执行 INFO",
        "この Redis ユーザーには INFO が許可されていません",
        "INFO não é permitido a este usuário do Redis",
    ),
    "memory": ("memory", "内存", "メモリ", "memória"),
    "no_limit": ("no limit set", "未设上限", "上限なし", "sem limite"),
    "keys": ("keys", "键数", "キー数", "chaves"),
    "evicted": ("evicted", "已逐出", "追い出し", "expulsas"),
    "by_model": (
        *("By model and app", "按模型与应用", "モデル・アプリ別", "Por modelo e app"),
    ),
    "model": ("model or tool", "模型或工具", "モデル・ツール", "modelo ou ferramenta"),
    "app": ("app", "应用", "アプリ", "app"),
    "requests": ("requests", "请求", "リクエスト", "pedidos"),
    "decisions": (*("Last decisions", "最近的判定", "最近の判定", "Últimas decisões"),),
    "when": ("when", "时间", "日時", "quando"),
    "decision": ("decision", "判定", "判定", "decisão"),
    "entry": ("key", "键", "キー", "chave"),
    "invalidations": (*("Invalidations", "失效记录", "無効化", "Invalidações"),),
    "none_yet": ("None yet", "暂无", "まだありません", "Nenhuma ainda"),
    "tags": ("tags", "标签", "タグ", "tags"),
    "invalidate": ("Invalidate", "使其失效", "無効化する", "Invalidar"),
    "tag": ("Tag", "标签", "タグ", "Tag"),
    "done": (
        "Done: nothing kept under “{tag}” is served any more.",
        "完成：标签“{tag}”下的内容不再使用。",
        "完了：タグ「{tag}」の内容はもう使われません。",
        "Feito: nada guardado em “{tag}” é mais servido.",
    ),
    "never_kept": (
        "Nothing was ever kept under: {tags}.",
        "以下标签下从未保存过内容：{tags}。",
        "次のタグには何も保存されていませんでした：{tags}。",
        "Nada foi guardado em: {tags}.",
    ),
    "not_done": (
        "Not done: {reason}",
        "未完成：{reason}",
        "できませんでした：{reason}",
        "Não feito: {reason}",
    ),
    "sign_in": (
        "Sign in with any name and the endpoint's access token as the password.",
        "请以任意用户名和端点的访问令牌（作为密码）登录。",
        "任意の名前と、パスワードとしてエンドポイントのアクセストークンで入ってください。",
        "Entre com qualquer nome e o token de acesso do endpoint como senha.",
    ),
    **REASONS,
}


class Words:
    """The words of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._place = LANGUAGES.index(language)

    def __call__(self, name: str, **values: object) -> str:
        """The words for ``name``; the name itself where there are none."""
        found = _WORDS.get(name)
        return found[self._place].format(**values) if found else name


def preferred(accepted: str) -> Words:
    """The words for a browser's Accept-Language."""
    for wish in accepted.lower().split(","):
        short = wish.partition(";")[0].strip()[:2]
        for language in LANGUAGES:
            if short and language.lower().startswith(short):
                return Words(language)
    return Words(LANGUAGES[0])
