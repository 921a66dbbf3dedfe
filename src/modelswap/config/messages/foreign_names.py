"""Names that other programs use for keys of this file.

By record, then by word (lower case, letters and digits only). A word that is a key of the record in
another spelling (`health_check_timeout`), or a key of another place (`preload`), is not here: the schema
finds both.
"""

from __future__ import annotations

from typing import Final


def _all(words: str, hint: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), hint)


def _key(name: str, about: str = "") -> str:
    return f"did you mean {name!r}?" + (f" {about}" if about else "")


_OPTION_OF_SERVER: Final = "an option of the model's server: write it into cmd"
_SERVER_OPTIONS: Final = _all(
    "ctx ctxsize context contextlength contextsize contextwindow nctx numctx maxmodellen ngl ngpulayers"
    " gpulayers numgpu numgpulayers gpumemoryutilization threads nthreads numthread batchsize ubatchsize"
    " flashattn flashattention mmproj lora loras cachetypek cachetypev chattemplate jinja embedding"
    " embeddings reranking tensorsplit tensorparallelsize splitmode maingpu mmap nommap mlock draft"
    " draftmodel modeldraft quantization dtype kvcache ropescaling",
    _OPTION_OF_SERVER,
)
_SAMPLING: Final = _all(
    "temperature temp topp topk minp repeatpenalty presencepenalty frequencypenalty maxtokens"
    " numpredict npredict seed stop systemprompt system reasoningeffort defaultparams samplingparams"
    " parameters params options",
    "a request's parameters stand in filters.setParams",
)
_LITELLM: Final = _all(
    "modellist litellmsettings routersettings generalsettings",
    "LiteLLM's; here: models: {ID: {cmd: …}}, or peers for servers that run elsewhere",
)
_TOGETHER: Final = "groups or a matrix say which models run together"
_COMMON: Final = {
    **_SERVER_OPTIONS,
    **_all(
        "maxmodels modelsmax maxloaded maxloadedmodels ollamamaxloadedmodels maxrunning"
        " maxrunninginstances maxinstances resources resourcesavailable resourcerequirements vram"
        " memory memorylimit",
        _TOGETHER,
    ),
}

_TOP: Final = {
    **_COMMON,
    **_LITELLM,
    **_all(
        "listen host hostname port address addr bind bindaddress bindhost listenaddress listenaddr"
        " listenhost listenport serverhost serverport server http httpport ollamahost interface",
        "an option, not a key: --listen 127.0.0.1:8080",
    ),
    **_all(
        "tls ssl https cert certfile tlscert tlscertfile sslcert sslcertfile tlskey sslkey keyfile"
        " tlskeyfile sslkeyfile",
        "options, not keys: --tls-cert-file and --tls-key-file",
    ),
    **_all("watch watchconfig hotreload autoreload reload", "an option, not a key: --watch-config"),
    **_all("statedir datadir", "an option, not a key: --state-dir"),
    **_all(
        "ttl idletimeout idle idlettl keepalive ollamakeepalive unloadafter idleunload autounload"
        " sleepidleseconds shutdownafterinactivityseconds modelttl defaultttl maxidle maxidletime",
        _key("globalTTL", "for all models; models.<id>.ttl for one"),
    ),
    **_all(
        "preload preloads autostart autoload startup onstartup loadonstartup prewarm warmup"
        " initialmodel default defaultmodel startmodels ondemandstart",
        _key("hooks.on_startup.preload", "a list of models"),
    ),
    **_all(
        "timeout starttimeout startuptimeout loadtimeout readytimeout loadingtimeout healthtimeout"
        " modelloadtimeout",
        _key("healthCheckTimeout", "seconds a model may take to become ready"),
    ),
    **_all("stoptimeout killtimeout gracefultimeout unloadgrace", _key("unloadTimeout")),
    **_all(
        "apikey apitoken apitokens token tokens auth authentication authtoken masterkey keys bearer",
        _key("apiKeys", "a list"),
    ),
    **_all(
        "cors corsorigins corsallowedorigins alloworigins alloworigin origins corsorigin",
        _key("allowedOrigins", "a list"),
    ),
    **_all("hosts allowhosts trustedhosts virtualhosts", _key("allowedHosts", "a list")),
    **_all("trustproxy trustedproxy forwardedallowips", _key("trustedProxies", "a list")),
    **_all("portrange portstart baseport firstport minport", _key("startPort")),
    **_all(
        "log logging verbose verbosity debug logs", _key("logLevel", "debug, info, warn, error")
    ),
    **_all("database db sqlite dbpath activitydb", _key("store.path")),
    **_all(
        "instances services llms llm engines backends deployments modelconfigs modelsdir"
        " modelspreset presets",
        _key("models", "each with its id and cmd"),
    ),
    **_all("model", _key("models", "a mapping of ids to models")),
    **_all("group", _key("groups")),
    **_all("matrices", _key("matrix")),
    **_all("peer remote remotes providers upstreams remotemodels", _key("peers")),
    **_all("vars variables defines constants snippets", _key("macros")),
    **_all(
        "maxconcurrency concurrency parallel maxparallel numparallel ollamanumparallel maxrequests",
        _key("models.<id>.concurrencyLimit"),
    ),
    **_all("maxqueue queuesize maxqueued", _key("limits.queue")),
    **_all("maxbody maxbodysize bodylimit clientmaxbodysize", _key("limits.body")),
    **_all("command cmds exec run args entrypoint", _key("models.<id>.cmd")),
    **_all("environment envs envvars", _key("models.<id>.env")),
    **_all("endpoint url baseurl apibase", _key("models.<id>.proxy")),
    **_all("alias", _key("models.<id>.aliases")),
    **_all("ratelimit ratelimits rpm", _key("apiKeys[].rateLimit")),
}

_MODEL: Final = {
    **_COMMON,
    **_SAMPLING,
    **_all(
        "command commands exec run start startcommand startcmd cmdstart cmdline commandline args"
        " arguments argv entrypoint program binary executable script launch serve launchcommand",
        _key("cmd", "the program and its arguments in one text"),
    ),
    **_all(
        "stopcommand stop stopcmd killcommand cmdkill shutdown shutdowncommand", _key("cmdStop")
    ),
    **_all(
        "model modelpath modelfile path gguf ggufpath file filename weights hf hfrepo hffile source"
        " litellmparams modelurl",
        "the command names the model: cmd: llama-server --model FILE --port ${PORT}",
    ),
    **_all(
        "environment envs envvars environmentvariables variables",
        _key("env", "a list of NAME=value"),
    ),
    **_all(
        "endpoint url baseurl apibase target upstream upstreamurl backend address addr host hostname"
        " serverurl proxyurl proxypass listen proxytargethost",
        _key("proxy", "where the server listens"),
    ),
    **_all(
        "port listenport serverport proxytargetport",
        "${PORT} in cmd gives the server a port; a fixed one stands in cmd and in proxy",
    ),
    **_all(
        "health healthcheck healthendpoint healthcheckpath healthcheckendpoint healthpath healthurl"
        " healthcheckurl healthcheckcommand readiness readinessprobe ready readypath check checkpath"
        " checkurl probe liveness",
        _key("checkEndpoint", "a path, or none"),
    ),
    **_all(
        "idletimeout idle idlettl keepalive unloadafter unloadafteridle idleunload autounload timeout"
        " sleepidleseconds shutdownafterinactivityseconds maxidle maxidletime globalttl expire"
        " expiration",
        _key("ttl", "seconds without use until it is unloaded"),
    ),
    **_all("stoptimeout killtimeout graceperiod gracefultimeout", _key("unloadTimeout")),
    **_all(
        "starttimeout startuptimeout loadtimeout readytimeout loadingtimeout",
        "one for all models: healthCheckTimeout at the top level",
    ),
    **_all(
        "maxconcurrency concurrency concurrent parallel maxparallel numparallel maxrequests"
        " maxconcurrentrequests concurrencylimits parallelrequests slots np",
        _key("concurrencyLimit"),
    ),
    **_all("alias names alsoknownas aka othernames", _key("aliases", "a list")),
    **_all("title displayname label modelname", _key("name")),
    **_all("hidden hide private unlist invisible", _key("unlisted", "true or false")),
    **_all(
        "vision multimodal images modality modalities input inputs inputmodalities audio",
        _key("capabilities.in", "a list of text, audio, image"),
    ),
    **_all("output outputs outputmodalities", _key("capabilities.out")),
    **_all("functions functioncalling toolcalling tooluse toolcalls", _key("capabilities.tools")),
    **_all("rerank", _key("capabilities.reranker")),
    **_all(
        "autostart autoload preload loadonstartup onstartup startup warmup prewarm ondemandstart",
        _key("hooks.on_startup.preload", "at the top level, a list of models"),
    ),
    **_all("swap exclusive persistent members group groups", "which models run together: groups"),
    **_all("priority", _key("routing.scheduler.settings.fifo.priority", "at the top level")),
    **_all("meta info extra annotations labels", _key("metadata")),
    **_all(
        "realname upstreammodel modelnameupstream servedmodelname usemodel", _key("useModelName")
    ),
    **_all("vars variables defines", _key("macros")),
    **_all(
        "cwd workdir workingdir workingdirectory chdir directory",
        "a command runs where modelswap was started: cmd: sh -c 'cd DIR && exec …'",
    ),
    **_all("setparam", _key("filters.setParams")),
    **_all("stripparam dropparams removeparams", _key("filters.stripParams")),
    **_all("filter", _key("filters")),
    **_all(
        "restart restartpolicy onfailure autorestart",
        "the next request starts a server that has ended",
    ),
}

_FILTERS: Final = {
    **{word: _key("setParams") for word in _SAMPLING},
    **_all(
        "strip remove drop delete dropparams removeparams unset exclude stripparam",
        _key("stripParams", "names with commas between"),
    ),
    **_all(
        "set add override overrides force defaults default inject extrabody setparam",
        _key("setParams"),
    ),
    **_all("setbyid byid byname byalias setparamsbyname setparamsbyalias", _key("setParamsByID")),
}

_PEER: Final = {
    **_all(
        "url endpoint baseurl apibase host hostname address addr target upstream backend server"
        " uri",
        _key("proxy", "the URL of the other server"),
    ),
    **_all("key token apitoken bearer authorization auth", _key("apiKey")),
    **_all("model modellist aliases names", _key("models", "a list")),
}

_GROUP: Final = {
    **_all("models model list items member modelids ids", _key("members", "a list of models")),
    **_all("exclusives unloadothers", _key("exclusive")),
    **_all("pinned keep keeploaded alwayson sticky", _key("persistent")),
}

FOREIGN_NAMES: Final[dict[str, dict[str, str]]] = {
    "RawConfig": _TOP,
    "RawModel": _MODEL,
    "RawFilters": _FILTERS,
    "RawPeer": _PEER,
    "RawGroup": _GROUP,
    "RawHooks": _all("onstart startup start onboot init", _key("on_startup")),
    "RawOnStartup": _all("load models start warmup", _key("preload", "a list of models")),
    "RawMatrix": {
        **_all("costs cost evictioncosts", _key("evict_costs")),
        **_all("variables models aliases", _key("vars")),
        **_all("combinations", _key("sets")),
    },
    "RawSelector": {
        **_all("models members", _key("targets", "a list")),
        **_all("type mode kind use", _key("strategy", "warm, pin or spillover")),
    },
    "RawProfile": _all("models members aliases map", _key("pins")),
    "RawApiKey": {
        **_all("value token apikey secret", _key("key")),
        **_all("hash sha256", _key("keyHash")),
        **_all("file path", _key("keyFile")),
        **_all("roles permissions scope role", _key("scopes", "a list")),
        **_all("rpm limit ratelimits", _key("rateLimit")),
        **_all("expiry expiration validuntil expiresat", _key("expires")),
        **_all("allowedmodels model", _key("models", "a list")),
    },
    "RawStore": {
        **_all("file filename db database dbpath location", _key("path")),
        **_all("retention days maxage", _key("retentionDays")),
        **_all("rows maxrows", _key("retentionRows")),
    },
    "RawCapabilities": {
        **_all("vision multimodal image images input inputs audio", _key("in", "a list")),
        **_all("output outputs", _key("out", "a list")),
        **_all("functions functioncalling toolcalling", _key("tools")),
        **_all("ctx contextlength contextsize maxcontext contextwindow", _key("context")),
        **_all("rerank", _key("reranker")),
    },
    "RawTimeouts": {
        **_all("idle idletimeout idleconnection", _key("idleConn")),
        **_all("response read header headers", _key("responseHeader")),
        **_all("connecttimeout dial", _key("connect")),
        **_all("tls", _key("tlsHandshake")),
    },
}
