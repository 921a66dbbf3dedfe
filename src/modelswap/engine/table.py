"""The flags of llama-server that this engine knows, and what each one sets.

Guarantees: the wheel has the parameter of each row; a test checks that against the wheel.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from .flags import Constant, Flag, Kind

_ON_OFF_AUTO: Final[dict[str, Constant]] = {
    spelling: f"llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_{state}"
    for state, spellings in {
        "ENABLED": ("on", "true", "1", "enabled"),
        "DISABLED": ("off", "false", "0", "disabled"),
        "AUTO": ("auto", "-1"),
    }.items()
    for spelling in spellings
}


def _members(prefix: str, *names: str) -> dict[str, Constant]:
    """Map each name to the wheel's constant of that name."""
    return {name: prefix + name.upper().replace("-", "_") for name in names}


_CACHE_TYPES: Final = _members(
    "ggml_type.GGML_TYPE_",
    *("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"),
)
_POOLING: Final = _members(
    "llama_pooling_type.LLAMA_POOLING_TYPE_", "none", "mean", "cls", "last", "rank"
)
_ROPE: Final = _members(
    "llama_rope_scaling_type.LLAMA_ROPE_SCALING_TYPE_", "none", "linear", "yarn"
)
_SPLIT: Final = _members("llama_split_mode.LLAMA_SPLIT_MODE_", "none", "layer", "row")
_NUMA: Final = _members(
    "ggml_numa_strategy.GGML_NUMA_STRATEGY_", "distribute", "isolate", "numactl"
)
_REASONING: Final = _members(
    "common_reasoning_format.COMMON_REASONING_FORMAT_",
    *("none", "auto", "deepseek", "deepseek-legacy"),
)
_LAYERS: Final[dict[str, Constant]] = {"auto": -1, "all": -2}
_SEEDS: Final[dict[str, Constant]] = {"-1": 0xFFFFFFFF}
_YES_NO: Final[dict[str, Constant]] = {"on": True, "off": False, "true": True, "false": False}
_LOAD: Final = "llama_load_mode.LLAMA_LOAD_MODE_"

_MODEL: Final = (
    Flag(("-m", "--model"), "model.path", "model file (GGUF); required", Kind.TEXT),
    Flag(("-mm", "--mmproj"), "mmproj.path", "multimodal projector file", Kind.TEXT),
    Flag(("--no-mmproj-offload",), "mmproj_use_gpu", "keep the projector on the CPU", constant=False),
    Flag(("--no-mmproj",), "no_mmproj", "ignore the projector"),
    Flag(("-a", "--alias"), "model_alias", "names the model answers to, with commas", Kind.NAMES),
    Flag(("--lora",), "lora_adapters", "LoRA adapter file; may be repeated", Kind.TEXT),
    Flag(("-md", "--model-draft"), "speculative.draft.mparams.path", "draft model", Kind.TEXT,
         also=(("speculative.types", "common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE"),)),
    Flag(("--draft", "--draft-n", "--draft-max"), "speculative.draft.n_max", "most drafted tokens", Kind.INT),
    Flag(("--draft-min", "--draft-n-min"), "speculative.draft.n_min", "fewest drafted tokens", Kind.INT),
    Flag(("--draft-p-min",), "speculative.draft.p_min", "least probability of a drafted token", Kind.FLOAT),
    Flag(("-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft"), "speculative.draft.n_gpu_layers",
         "layers of the draft model on the GPU", Kind.INT),
    Flag(("-c", "--ctx-size"), "n_ctx", "context length, 0 = the model's own", Kind.INT),
    Flag(("-n", "--predict", "--n-predict"), "n_predict", "most tokens per answer", Kind.INT),
    Flag(("--keep",), "n_keep", "tokens kept when the context shifts", Kind.INT),
    Flag(("--context-shift",), "ctx_shift", "shift the context when it is full"),
    Flag(("--no-context-shift",), "ctx_shift", "stop when the context is full", constant=False),
    Flag(("--rope-scaling",), "rope_scaling_type", "none, linear or yarn", Kind.CHOICE, choices=_ROPE),
    Flag(("--rope-freq-base",), "rope_freq_base", "RoPE base frequency", Kind.FLOAT),
    Flag(("--rope-freq-scale",), "rope_freq_scale", "RoPE frequency factor", Kind.FLOAT),
    Flag(("--yarn-orig-ctx",), "yarn_orig_ctx", "YaRN: context of training", Kind.INT),
    Flag(("--yarn-ext-factor",), "yarn_ext_factor", "YaRN: extrapolation mix", Kind.FLOAT),
    Flag(("--yarn-attn-factor",), "yarn_attn_factor", "YaRN: attention magnitude", Kind.FLOAT),
    Flag(("--yarn-beta-slow",), "yarn_beta_slow", "YaRN: high correction dimension", Kind.FLOAT),
    Flag(("--yarn-beta-fast",), "yarn_beta_fast", "YaRN: low correction dimension", Kind.FLOAT),
)  # fmt: skip

_MACHINE: Final = (
    Flag(("-t", "--threads"), "cpuparams.n_threads", "threads while generating", Kind.INT),
    Flag(("-tb", "--threads-batch"), "cpuparams_batch.n_threads", "threads for prompts", Kind.INT),
    Flag(("-ngl", "--gpu-layers", "--n-gpu-layers"), "n_gpu_layers", "layers on the GPU", Kind.INT, choices=_LAYERS),
    Flag(("-sm", "--split-mode"), "split_mode", "none, layer or row", Kind.CHOICE, choices=_SPLIT),
    Flag(("-ts", "--tensor-split"), "tensor_split", "share of each GPU, with commas", Kind.FLOATS),
    Flag(("-mg", "--main-gpu"), "main_gpu", "GPU for a model that is not split", Kind.INT),
    Flag(("-b", "--batch-size"), "n_batch", "logical batch size", Kind.INT),
    Flag(("-ub", "--ubatch-size"), "n_ubatch", "physical batch size", Kind.INT),
    Flag(("-np", "--parallel"), "n_parallel", "requests at once", Kind.INT),
    Flag(("-cb", "--cont-batching"), "cont_batching", "continuous batching (default)"),
    Flag(("-nocb", "--no-cont-batching"), "cont_batching", "no continuous batching", constant=False),
    Flag(("-kvu", "--kv-unified"), "kv_unified", "one KV cache for all requests"),
    Flag(("-nkvo", "--no-kv-offload"), "no_kv_offload", "keep the KV cache off the GPU"),
    Flag(("-fa", "--flash-attn"), "flash_attn_type", "on, off or auto", Kind.CHOICE, choices=_ON_OFF_AUTO),
    Flag(("-ctk", "--cache-type-k"), "cache_type_k", "type of the cached keys", Kind.CHOICE, choices=_CACHE_TYPES),
    Flag(("-ctv", "--cache-type-v"), "cache_type_v", "type of the cached values", Kind.CHOICE, choices=_CACHE_TYPES),
    Flag(("-cram", "--cache-ram"), "cache_ram_mib", "prompt cache in MiB", Kind.INT),
    Flag(("--cache-reuse",), "n_cache_reuse", "smallest chunk reused from the cache", Kind.INT),
    Flag(("--ctx-checkpoints", "--swa-checkpoints"), "n_ctx_checkpoints", "checkpoints of the context", Kind.INT),
    Flag(("--swa-full",), "swa_full", "full cache for sliding-window attention"),
    Flag(("--mlock",), "load_mode", "lock the model in memory", constant=f"{_LOAD}MMAP_MLOCK"),
    Flag(("--mmap",), "load_mode", "map the model file", constant=f"{_LOAD}MMAP"),
    Flag(("--no-mmap",), "load_mode", "read the model file instead of mapping it", constant=f"{_LOAD}NONE"),
    Flag(("--numa",), "numa", "distribute, isolate or numactl", Kind.CHOICE, choices=_NUMA),
    Flag(("-nr", "--no-repack"), "no_extra_bufts", "no repacking of weights"),
    Flag(("--check-tensors",), "check_tensors", "look for invalid weights"),
    Flag(("--warmup",), "warmup", "warm the model up (default)"),
    Flag(("--no-warmup",), "warmup", "no warm-up run", constant=False),
    Flag(("-fit", "--fit"), "fit_params", "adjust unset sizes to the memory: on or off", Kind.CHOICE, choices=_YES_NO),
)  # fmt: skip

_SERVER: Final = (
    Flag(("--host",), "hostnames", "address to listen on (127.0.0.1)", Kind.NAMES),
    Flag(("--port",), "port", "port to listen on (8080), 0 = any", Kind.INT),
    Flag(("--reuse-port",), "reuse_port", "share the port with other processes"),
    Flag(("--api-prefix",), "api_prefix", "path before every route", Kind.TEXT),
    Flag(("--api-key",), "api_keys", "accepted keys, with commas", Kind.NAMES),
    Flag(("--api-key-file",), "api_keys", "file with one key per line", Kind.FILE),
    Flag(("--ssl-key-file",), "ssl_file_key", "TLS key", Kind.TEXT),
    Flag(("--ssl-cert-file",), "ssl_file_cert", "TLS certificate", Kind.TEXT),
    Flag(("-to", "--timeout"), "timeout_read", "seconds for reading and writing", Kind.INT),
    Flag(("--threads-http",), "n_threads_http", "threads for HTTP", Kind.INT),
    Flag(("--metrics",), "endpoint_metrics", "serve /metrics"),
    Flag(("--slots",), "endpoint_slots", "serve /slots (default)"),
    Flag(("--no-slots",), "endpoint_slots", "do not serve /slots", constant=False),
    Flag(("--props",), "endpoint_props", "allow POST /props"),
    Flag(("--slot-save-path",), "slot_save_path", "folder for saved slots", Kind.TEXT),
    Flag(("-sps", "--slot-prompt-similarity"), "slot_prompt_similarity", "how alike prompts share a slot", Kind.FLOAT),
    Flag(("--cache-prompt",), "cache_prompt", "keep prompts in the cache (default)"),
    Flag(("--no-cache-prompt",), "cache_prompt", "no prompt cache", constant=False),
    Flag(("--webui", "--ui"), "ui", "serve the web page (default)"),
    Flag(("--no-webui", "--no-ui"), "ui", "no web page", constant=False),
    Flag(("--embedding", "--embeddings"), "embedding", "embeddings only"),
    Flag(("--reranking", "--rerank"), "embedding", "rerank documents",
         also=(("pooling_type", "llama_pooling_type.LLAMA_POOLING_TYPE_RANK"),)),
    Flag(("--pooling",), "pooling_type", "none, mean, cls, last or rank", Kind.CHOICE, choices=_POOLING),
    Flag(("--embd-normalize",), "embd_normalize", "norm of embeddings, 2 = Euclidean", Kind.INT),
    Flag(("--jinja",), "use_jinja", "the model's own chat template (default)"),
    Flag(("--no-jinja",), "use_jinja", "built-in chat templates", constant=False),
    Flag(("--chat-template",), "chat_template", "chat template: text or name", Kind.TEXT),
    Flag(("--chat-template-file",), "chat_template", "chat template: file", Kind.FILE),
    Flag(("--chat-template-kwargs",), "default_template_kwargs", "JSON for the chat template", Kind.JSON),
    Flag(("--prefill-assistant",), "prefill_assistant", "continue an assistant's last message (default)"),
    Flag(("--no-prefill-assistant",), "prefill_assistant", "do not continue it", constant=False),
    Flag(("--reasoning-format",), "reasoning_format", "none, auto, deepseek", Kind.CHOICE, choices=_REASONING),
    Flag(("--sleep-idle-seconds",), "sleep_idle_seconds", "free the model after idle seconds", Kind.INT),
    Flag(("-lv", "--verbosity", "--log-verbosity"), "verbosity", "how much is logged", Kind.INT),
    Flag(("-v", "--verbose", "--log-verbose"), "verbosity", "log everything", constant=99),
)  # fmt: skip

_SAMPLING: Final = (
    Flag(("-s", "--seed"), "sampling.seed", "random seed, -1 = any", Kind.INT, choices=_SEEDS),
    Flag(("--temp", "--temperature"), "sampling.temp", "temperature", Kind.FLOAT),
    Flag(("--top-k",), "sampling.top_k", "keep the k likeliest", Kind.INT),
    Flag(("--top-p",), "sampling.top_p", "keep this much probability", Kind.FLOAT),
    Flag(("--min-p",), "sampling.min_p", "drop the unlikely", Kind.FLOAT),
    Flag(("--typical", "--typical-p"), "sampling.typ_p", "locally typical sampling", Kind.FLOAT),
    Flag(("--repeat-last-n",), "sampling.penalty_last_n", "tokens looked at for repetition", Kind.INT),
    Flag(("--repeat-penalty",), "sampling.penalty_repeat", "penalty for repetition", Kind.FLOAT),
    Flag(("--presence-penalty",), "sampling.penalty_present", "penalty for presence", Kind.FLOAT),
    Flag(("--frequency-penalty",), "sampling.penalty_freq", "penalty for frequency", Kind.FLOAT),
    Flag(("--dry-multiplier",), "sampling.dry_multiplier", "DRY: strength, 0 = off", Kind.FLOAT),
    Flag(("--dry-base",), "sampling.dry_base", "DRY: base", Kind.FLOAT),
    Flag(("--dry-allowed-length",), "sampling.dry_allowed_length", "DRY: repetition that is fine", Kind.INT),
    Flag(("--dry-penalty-last-n",), "sampling.dry_penalty_last_n", "DRY: tokens looked at", Kind.INT),
    Flag(("--xtc-probability",), "sampling.xtc_probability", "XTC: probability", Kind.FLOAT),
    Flag(("--xtc-threshold",), "sampling.xtc_threshold", "XTC: threshold", Kind.FLOAT),
    Flag(("--dynatemp-range",), "sampling.dynatemp_range", "dynamic temperature: range", Kind.FLOAT),
    Flag(("--dynatemp-exp",), "sampling.dynatemp_exponent", "dynamic temperature: exponent", Kind.FLOAT),
    Flag(("--mirostat",), "sampling.mirostat", "0 = off, 1, 2", Kind.INT),
    Flag(("--mirostat-lr",), "sampling.mirostat_eta", "Mirostat: learning rate", Kind.FLOAT),
    Flag(("--mirostat-ent",), "sampling.mirostat_tau", "Mirostat: entropy", Kind.FLOAT),
    Flag(("--ignore-eos",), "sampling.ignore_eos", "go on after the end"),
)  # fmt: skip

FLAGS: Final = (*_MODEL, *_MACHINE, *_SERVER, *_SAMPLING)
TABLE: Final = MappingProxyType({name: flag for flag in FLAGS for name in flag.names})
"""Every spelling → its row."""


def usage() -> str:
    """List the flags, one per line."""
    lines = ["usage: python -m modelswap.engine --model FILE [flags]", ""]
    for flag in FLAGS:
        names = ", ".join(flag.names) + ("" if flag.kind is Kind.SWITCH else " X")
        lines.append(f"  {names:<46} {flag.help}")
    return "\n".join((*lines, "  -h, --help                                     this list", ""))
