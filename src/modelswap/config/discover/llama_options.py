"""The options of llama-server, by every name that a preset may use for them.

Source: the table in llama.cpp's `tools/server/README.md`, autumn 2026. An option's last name is the one
that a command is written with, as llama.cpp's router does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

_ENV: Final = "LLAMA_ARG_"


@dataclass(frozen=True, slots=True)
class LlamaOption:
    """One option: a value, a switch, or a switch with its opposite."""

    name: str
    """Without dashes."""
    takes_value: bool
    opposite: str = ""
    """The switch that turns it off."""


_VALUES: Final = """
t threads =THREADS|tb threads-batch|C cpu-mask|Cr cpu-range|cpu-strict|prio|poll|Cb cpu-mask-batch
Crb cpu-range-batch|cpu-strict-batch|prio-batch|poll-batch|c ctx-size =CTX_SIZE
n predict n-predict =N_PREDICT|b batch-size =BATCH|ub ubatch-size =UBATCH|keep
fa flash-attn =FLASH_ATTN|rope-scaling =ROPE_SCALING_TYPE|rope-scale =ROPE_SCALE
rope-freq-base =ROPE_FREQ_BASE|rope-freq-scale =ROPE_FREQ_SCALE|yarn-orig-ctx =YARN_ORIG_CTX
yarn-ext-factor =YARN_EXT_FACTOR|yarn-attn-factor =YARN_ATTN_FACTOR|yarn-beta-slow =YARN_BETA_SLOW
yarn-beta-fast =YARN_BETA_FAST|ctk cache-type-k =CACHE_TYPE_K|ctv cache-type-v =CACHE_TYPE_V
dt defrag-thold =DEFRAG_THOLD|rpc =RPC|lm load-mode =LOAD_MODE|lzm lazy-mode =LAZY_MODE|numa =NUMA
dev device =DEVICE|ot override-tensor =OVERRIDE_TENSOR|ncmoe n-cpu-moe =N_CPU_MOE
moe-cache-mib =MOE_CACHE_MIB|ncffn n-cpu-ffn =N_CPU_FFN|ngl gpu-layers n-gpu-layers =N_GPU_LAYERS
sm split-mode =SPLIT_MODE|ts tensor-split =TENSOR_SPLIT|mg main-gpu =MAIN_GPU|fit =FIT
fitt fit-target =FIT_TARGET|fitc fit-ctx =FIT_CTX|override-kv|lora|lora-scaled|control-vector
control-vector-scaled|m model =MODEL|mu model-url =MODEL_URL|dr docker-repo =DOCKER_REPO
hf hfr hf-repo =HF_REPO|hff hf-file =HF_FILE|hft hf-token HF_TOKEN|log-file =LOG_FILE
log-colors =LOG_COLORS|lv verbosity log-verbosity =LOG_VERBOSITY
spec-draft-type-k ctkd cache-type-k-draft =SPEC_DRAFT_CACHE_TYPE_K
spec-draft-type-v ctvd cache-type-v-draft =SPEC_DRAFT_CACHE_TYPE_V|samplers|s seed
sampler-seq sampling-seq|temp temperature =TEMPERATURE|top-k =TOP_K|top-p =TOP_P|min-p =MIN_P
top-nsigma top-n-sigma|xtc-probability|xtc-threshold|typical typical-p|repeat-last-n
repeat-penalty =REPEAT_PENALTY|presence-penalty =PRESENCE_PENALTY
frequency-penalty =FREQUENCY_PENALTY|dry-multiplier|dry-base|dry-allowed-length|dry-penalty-last-n
dry-sequence-breaker|adaptive-target|adaptive-decay|dynatemp-range|dynatemp-exp|mirostat|mirostat-lr
mirostat-ent|l logit-bias|grammar|grammar-file|j json-schema|jf json-schema-file
lcs lookup-cache-static|lcd lookup-cache-dynamic|kv-unified-per-slot =KV_UNIFIED_PER_SLOT
ctxcp swa-checkpoints ctx-checkpoints =CTX_CHECKPOINTS
cms checkpoint-min-step =CHECKPOINT_MIN_SPACING_NT|cram cache-ram =CACHE_RAM|r reverse-prompt
pooling =POOLING|np parallel =N_PARALLEL|mm mmproj =MMPROJ|mmu mmproj-url =MMPROJ_URL
mmdev mmproj-device MTMD_BACKEND_DEVICE|image-min-tokens =IMAGE_MIN_TOKENS
image-max-tokens =IMAGE_MAX_TOKENS|mtmd-batch-max-tokens =MTMD_BATCH_MAX_TOKENS|video-fps =VIDEO_FPS
video-timestamp-interval =VIDEO_TIMESTAMP_INTERVAL|video-ffmpeg-dir =VIDEO_FFMPEG_DIR|a alias =ALIAS
tags =TAGS|embd-normalize|host =HOST|port =PORT|path =STATIC_PATH|cors-origins =CORS_ORIGINS
cors-methods =CORS_METHODS|cors-headers =CORS_HEADERS|api-prefix =API_PREFIX
webui-config ui-config =UI_CONFIG|webui-config-file ui-config-file =UI_CONFIG_FILE|tools =TOOLS
tools-runtime =TOOLS_RUNTIME|mcp-servers-config =MCP_SERVERS_CONFIG
mcp-servers-json =MCP_SERVERS_JSON|api-key LLAMA_API_KEY|api-key-file =API_KEY_FILE
ssl-key-file =SSL_KEY_FILE|ssl-cert-file =SSL_CERT_FILE|chat-template-kwargs =CHAT_TEMPLATE_KWARGS
to timeout =TIMEOUT|sse-ping-interval =SSE_PING_INTERVAL|threads-http =THREADS_HTTP
cache-reuse =CACHE_REUSE|slot-save-path =SLOT_SAVE_PATH|media-path|models-dir =MODELS_DIR
models-preset =MODELS_PRESET|models-max =MODELS_MAX|reasoning-format =THINK|rea reasoning =REASONING
reasoning-effort =REASONING_EFFORT|reasoning-budget =THINK_BUDGET
reasoning-budget-message =THINK_BUDGET_MESSAGE|chat-template =CHAT_TEMPLATE
chat-template-file =CHAT_TEMPLATE_FILE|sps slot-prompt-similarity|sleep-idle-seconds|log-prompts-dir
spec-draft-hf hfd hfrd hf-repo-draft =SPEC_DRAFT_HF_REPO|spec-draft-threads td threads-draft
spec-draft-threads-batch tbd threads-batch-draft|spec-draft-cpu-mask Cd cpu-mask-draft
spec-draft-cpu-range Crd cpu-range-draft|spec-draft-cpu-strict cpu-strict-draft
spec-draft-prio prio-draft|spec-draft-poll poll-draft|spec-draft-cpu-mask-batch Cbd cpu-mask-batch-draft
spec-draft-cpu-strict-batch cpu-strict-batch-draft|spec-draft-prio-batch prio-batch-draft
spec-draft-poll-batch poll-batch-draft|spec-draft-override-tensor otd override-tensor-draft
spec-draft-n-cpu-moe spec-draft-ncmoe ncmoed n-cpu-moe-draft =SPEC_DRAFT_N_CPU_MOE
spec-draft-n-max =SPEC_DRAFT_N_MAX|spec-draft-n-min =SPEC_DRAFT_N_MIN
spec-draft-p-split draft-p-split =SPEC_DRAFT_P_SPLIT|spec-draft-p-min draft-p-min =SPEC_DRAFT_P_MIN
spec-draft-sampling =SPEC_DRAFT_SAMPLING|spec-draft-device devd device-draft
spec-draft-ngl ngld gpu-layers-draft n-gpu-layers-draft =N_GPU_LAYERS_DRAFT
spec-draft-model md model-draft =SPEC_DRAFT_MODEL|spec-type =SPEC_TYPE|spec-ngram-mod-n-min
spec-ngram-mod-n-max|spec-ngram-mod-n-match|spec-ngram-simple-size-n|spec-ngram-simple-size-m
spec-ngram-simple-min-hits|spec-ngram-map-k-size-n|spec-ngram-map-k-size-m|spec-ngram-map-k-min-hits
spec-ngram-map-k4v-size-n|spec-ngram-map-k4v-size-m|spec-ngram-map-k4v-min-hits
draft draft-n draft-max =DRAFT_MAX|draft-min draft-n-min =DRAFT_MIN
"""
"""Options with a value: names, then the environment variable (`=` stands for its usual beginning)."""

_SWITCHES: Final = """
swa-full =SWA_FULL|no-host =NO_HOST|cmoe cpu-moe =CPU_MOE|check-tensors|log-disable
v verbose log-verbose|offline =OFFLINE|ignore-eos|bs backend-sampling =BACKEND_SAMPLING|sp special
spm-infill|reuse-port|embeddings embedding =EMBEDDINGS|rerank reranking =RERANKING
metrics =ENDPOINT_METRICS|props =ENDPOINT_PROPS|lora-init-without-apply
spec-draft-cpu-moe cmoed cpu-moe-draft =SPEC_DRAFT_CPU_MOE|mlock =MLOCK|spec-default
"""

_PAIRS: Final = """
perf =PERF / no-perf|e escape / no-escape|kvo kv-offload =KV_OFFLOAD / nkvo no-kv-offload
repack =REPACK / nr no-repack|op-offload / no-op-offload|log-jsonl =LOG_JSONL / no-log-jsonl
log-prefix =LOG_PREFIX / no-log-prefix|log-timestamps =LOG_TIMESTAMPS / no-log-timestamps
kvu kv-unified =KV_UNIFIED / no-kvu no-kv-unified
cache-idle-slots =CACHE_IDLE_SLOTS / no-cache-idle-slots
context-shift =CONTEXT_SHIFT / no-context-shift|warmup / no-warmup
cb cont-batching =CONT_BATCHING / nocb no-cont-batching
mmproj-auto =MMPROJ_AUTO / no-mmproj-auto no-mmproj
mmproj-offload =MMPROJ_OFFLOAD / no-mmproj-offload
cors-credentials =CORS_CREDENTIALS / no-cors-credentials
webui-mcp-proxy ui-mcp-proxy =UI_MCP_PROXY / no-webui-mcp-proxy no-ui-mcp-proxy
ag agent =AGENT / no-ag no-agent|webui ui =UI / no-webui no-ui|mmap =MMAP / no-mmap
cache-prompt =CACHE_PROMPT / no-cache-prompt|slots =ENDPOINT_SLOTS / no-slots
models-autoload =MODELS_AUTOLOAD / no-models-autoload|jinja =JINJA / no-jinja
reasoning-preserve =REASONING_PRESERVE / no-reasoning-preserve
skip-chat-parsing =SKIP_CHAT_PARSING / no-skip-chat-parsing
prefill-assistant =PREFILL_ASSISTANT / no-prefill-assistant
spec-draft-backend-sampling =SPEC_DRAFT_BACKEND_SAMPLING / no-spec-draft-backend-sampling
"""

PRESET_ONLY: Final = frozenset({"load-on-startup", "stop-timeout", "dedup-cache-models", "version"})
"""Keys of a preset that are no options of llama-server."""
RESERVED: Final = frozenset(
    {"host", "port", "api-key", "api-key-file", "ssl-key-file", "ssl-cert-file", "models-dir"}
    | {"models-preset", "models-max", "models-autoload", "reuse-port", "api-prefix"}
)
"""Options that whoever starts the server gives, so that a preset's have no effect."""


@cache
def options_by_key() -> dict[str, tuple[LlamaOption, bool]]:
    """Return each name and variable: the option, and whether the name means its opposite."""
    found: dict[str, tuple[LlamaOption, bool]] = {}
    for rows, takes_value in ((_VALUES, True), (_SWITCHES, False), (_PAIRS, False)):
        for row in rows.strip().replace("\n", "|").split("|"):
            positive, _, negative = row.partition(" / ")
            names, opposites = positive.split(), negative.split()
            plain = [name for name in names if not name.startswith("=") and not name.isupper()]
            option = LlamaOption(plain[-1], takes_value, opposites[-1] if opposites else "")
            for name in names:
                key = _ENV + name[1:] if name.startswith("=") else name
                found[key] = option, False
            for name in opposites:
                found[name] = option, True
    return found
