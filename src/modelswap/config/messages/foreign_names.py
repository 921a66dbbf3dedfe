"""Names that other programs use for keys of this file.

By record, then by word (lower case, letters and digits only). A word that is a key of the record in
another spelling (`health_check_timeout`), or a key of another place (`preload`), is not here: the schema
finds both.
"""

from __future__ import annotations

from typing import Final


def _table(text: str) -> dict[str, str]:
    """Read `WORD … -> KEY`, `WORD … -> KEY: remark` and `WORD … => hint`; words may fill several lines."""
    hints: dict[str, str] = {}
    words: list[str] = []
    for line in text.splitlines():
        before, arrow, after = line.partition(" -> " if " -> " in line else " => ")
        words += before.split()
        if arrow == " -> ":
            key, _, remark = after.partition(": ")
            after = f"did you mean {key!r}? {remark}".strip()
        if arrow:
            hints |= dict.fromkeys(words, after)
            words = []
    return hints


_SAMPLING: Final = _table("""
    temperature temp topp topk minp repeatpenalty presencepenalty frequencypenalty maxtokens
    numpredict npredict seed stop systemprompt system reasoningeffort defaultparams samplingparams
    parameters params options => a request's parameters stand in filters.setParams
""")
_COMMON: Final = _table("""
    ctx ctxsize context contextlength contextsize contextwindow nctx numctx maxmodellen ngl
    ngpulayers gpulayers numgpu numgpulayers gpumemoryutilization threads nthreads numthread
    batchsize ubatchsize flashattn flashattention mmproj lora loras cachetypek cachetypev
    chattemplate jinja embedding embeddings reranking tensorsplit tensorparallelsize splitmode
    maingpu mmap nommap mlock draft draftmodel modeldraft quantization dtype kvcache ropescaling
    => an option of the model's server: write it into cmd
""")
_TOP: Final = _COMMON | _table("""
    maxmodels maxloaded maxloadedmodels ollamamaxloadedmodels maxrunning maxrunninginstances
    maxinstances -> modelsMax
    memory vram ram memorylimit resources resourcesavailable
    -> devices: capacity and reserve of ram, gpu0, …
    modellist litellmsettings routersettings generalsettings
    => LiteLLM's; here: models: {ID: {cmd: …}}, or peers for servers that run elsewhere
    listen host hostname port address addr bind bindaddress bindhost listenaddress listenaddr
    listenhost listenport serverhost serverport server http httpport ollamahost interface
    => an option, not a key: --listen 127.0.0.1:8080
    tls ssl https cert certfile tlscert tlscertfile sslcert sslcertfile tlskey sslkey keyfile
    tlskeyfile sslkeyfile => options, not keys: --tls-cert-file and --tls-key-file
    watch watchconfig hotreload autoreload reload => an option, not a key: --watch-config
    statedir datadir => an option, not a key: --state-dir
    ttl idletimeout idle idlettl keepalive ollamakeepalive unloadafter idleunload autounload
    sleepidleseconds shutdownafterinactivityseconds modelttl defaultttl maxidle maxidletime
    -> globalTTL: for all models; models.<id>.ttl for one
    preload preloads autostart autoload startup onstartup loadonstartup prewarm warmup initialmodel
    default defaultmodel startmodels ondemandstart -> hooks.on_startup.preload: a list of models
    timeout starttimeout startuptimeout loadtimeout readytimeout loadingtimeout healthtimeout
    modelloadtimeout -> healthCheckTimeout: seconds a model may take to become ready
    stoptimeout killtimeout gracefultimeout unloadgrace -> unloadTimeout
    apikey apitoken apitokens token tokens auth authentication authtoken masterkey keys bearer
    -> apiKeys: a list
    cors corsorigins corsallowedorigins alloworigins alloworigin origins corsorigin
    -> allowedOrigins: a list
    hosts allowhosts trustedhosts virtualhosts -> allowedHosts: a list
    trustproxy trustedproxy forwardedallowips -> trustedProxies: a list
    portrange portstart baseport firstport minport -> startPort
    log logging verbose verbosity debug logs -> logLevel: debug, info, warn, error
    database db sqlite dbpath activitydb -> store.path
    instances services llms llm engines backends deployments modelconfigs modelsdir modelspreset
    presets -> models: each with its id and cmd
    model -> models: a mapping of ids to models
    group -> groups
    matrices -> matrix
    peer remote remotes providers upstreams remotemodels -> peers
    vars variables defines constants snippets -> macros
    maxconcurrency concurrency parallel maxparallel numparallel ollamanumparallel maxrequests
    -> models.<id>.concurrencyLimit
    maxqueue queuesize maxqueued -> limits.queue
    maxbody maxbodysize bodylimit clientmaxbodysize -> limits.body
    command cmds exec run args entrypoint -> models.<id>.cmd
    environment envs envvars -> models.<id>.env
    endpoint url baseurl apibase -> models.<id>.proxy
    alias -> models.<id>.aliases
    ratelimit ratelimits rpm -> apiKeys[].rateLimit
""")
_MODEL: Final = _COMMON | _table("""
    vram memorylimit resources resourcerequirements -> memory: what it needs, such as 6GiB
    command commands exec run start startcommand startcmd cmdstart cmdline commandline args
    arguments argv entrypoint program binary executable script launch serve launchcommand
    -> cmd: the program and its arguments in one text
    stopcommand stop stopcmd killcommand cmdkill shutdown shutdowncommand -> cmdStop
    hf hfrepo hffile modelurl download repo repository -> source: hf:OWNER/REPO:QUANT is pulled when needed
    model modelpath modelfile path gguf ggufpath file filename weights litellmparams
    => the command names the model: cmd: llama-server --model FILE --port ${PORT}
    environment envs envvars environmentvariables variables -> env: a list of NAME=value
    endpoint url baseurl apibase target upstream upstreamurl backend address addr host hostname
    serverurl proxyurl proxypass listen proxytargethost -> proxy: where the server listens
    port listenport serverport proxytargetport
    => ${PORT} in cmd gives the server a port; a fixed one stands in cmd and in proxy
    health healthcheck healthendpoint healthcheckpath healthcheckendpoint healthpath healthurl
    healthcheckurl healthcheckcommand readiness readinessprobe ready readypath check checkpath
    checkurl probe liveness -> checkEndpoint: a path, or none
    idletimeout idle idlettl keepalive unloadafter unloadafteridle idleunload autounload timeout
    sleepidleseconds shutdownafterinactivityseconds maxidle maxidletime globalttl expire expiration
    -> ttl: seconds without use until it is unloaded
    stoptimeout killtimeout graceperiod gracefultimeout -> unloadTimeout
    starttimeout startuptimeout loadtimeout readytimeout loadingtimeout
    => one for all models: healthCheckTimeout at the top level
    maxconcurrency concurrency concurrent parallel maxparallel numparallel maxrequests
    maxconcurrentrequests concurrencylimits parallelrequests slots np -> concurrencyLimit
    alias names alsoknownas aka othernames -> aliases: a list
    title displayname label modelname -> name
    hidden hide private unlist invisible -> unlisted: true or false
    vision multimodal images modality modalities input inputs inputmodalities audio
    -> capabilities.in: a list of text, audio, image
    output outputs outputmodalities -> capabilities.out
    functions functioncalling toolcalling tooluse toolcalls -> capabilities.tools
    rerank -> capabilities.reranker
    autostart autoload preload loadonstartup onstartup startup warmup prewarm ondemandstart
    -> hooks.on_startup.preload: at the top level, a list of models
    swap exclusive persistent members group groups => which models run together: groups
    priority -> routing.scheduler.settings.fifo.priority: at the top level
    meta info extra annotations labels -> metadata
    realname upstreammodel modelnameupstream servedmodelname usemodel -> useModelName
    vars variables defines -> macros
    cwd workdir workingdir workingdirectory chdir directory
    => a command runs where modelswap was started: cmd: sh -c 'cd DIR && exec …'
    setparam -> filters.setParams
    stripparam dropparams removeparams -> filters.stripParams
    filter -> filters
    restart restartpolicy onfailure autorestart => the next request starts a server that has ended
""")
_FILTERS: Final = dict.fromkeys(_SAMPLING, "did you mean 'setParams'?") | _table("""
    strip remove drop delete dropparams removeparams unset exclude stripparam
    -> stripParams: names with commas between
    set add override overrides force defaults default inject extrabody setparam -> setParams
    setbyid byid byname byalias setparamsbyname setparamsbyalias -> setParamsByID
""")
_PEER: Final = _table("""
    url endpoint baseurl apibase host hostname address addr target upstream backend server uri
    -> proxy: the URL of the other server
    key token apitoken bearer authorization auth -> apiKey
    model modellist aliases names -> models: a list
""")
_GROUP: Final = _table("""
    models model list items member modelids ids -> members: a list of models
    exclusives unloadothers -> exclusive
    pinned keep keeploaded alwayson sticky -> persistent
""")

FOREIGN_NAMES: Final[dict[str, dict[str, str]]] = {
    "RawConfig": _TOP,
    "RawModel": _SAMPLING | _MODEL,
    "RawFilters": _FILTERS,
    "RawPeer": _PEER,
    "RawGroup": _GROUP,
    "RawHooks": _table("onstart startup start onboot init -> on_startup\nidle unused -> on_idle"),
    "RawOnStartup": _table("load models start warmup -> preload: a list of models"),
    "RawOnIdle": _table("preload load models name default -> model: the model to load"),
    "RawMatrix": _table("""
        costs cost evictioncosts -> evict_costs
        variables models aliases -> vars
        combinations -> sets
    """),
    "RawSelector": _table("""
        models members -> targets: a list
        type mode kind use -> strategy: warm, pin or spillover
    """),
    "RawProfile": _table("models members aliases map -> pins"),
    "RawApiKey": _table("""
        value token apikey secret -> key
        hash sha256 -> keyHash
        file path -> keyFile
        roles permissions scope role -> scopes: a list
        rpm limit ratelimits -> rateLimit
        expiry expiration validuntil expiresat -> expires
        allowedmodels model -> models: a list
    """),
    "RawStore": _table("""
        file filename db database dbpath location -> path
        retention days maxage -> retentionDays
        rows maxrows -> retentionRows
    """),
    "RawCapabilities": _table("""
        vision multimodal image images input inputs audio -> in: a list
        output outputs -> out: a list
        functions functioncalling toolcalling -> tools
        ctx contextlength contextsize maxcontext contextwindow -> context
        rerank -> reranker
    """),
    "RawTimeouts": _table("""
        idle idletimeout idleconnection -> idleConn
        response read header headers -> responseHeader
        connecttimeout dial -> connect
        tls -> tlsHandshake
    """),
}
