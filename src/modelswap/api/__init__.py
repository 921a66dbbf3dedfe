"""The HTTP API: admits each request, and answers it or sends it to a model.

gateway              admission: host, preflight, route, key, origin
routes               every endpoint and all facts about it
control_handler      runs the coroutine of a control route
model_path_handler   `/upstream/<model>/…` and `/comfyui/…`
responder            errors, redirects and short responses
services             the objects that all handlers share
snapshot             what is compiled from one configuration, and the holder of the one in use
fleet_events         the fleet's news, for log, watchers and counters
reload_status        what became of the last attempt to reload
models_endpoint      the records of `/v1/models`, and the statuses of models
auth/                keys, identities and their rights
hosts/               `Host`, `Origin`, CORS, and trusted proxies
routing/             which model a request names, edits, paths, redirects
proxy/               one request to a model, from its head to its last byte
protocols/           what the clients of each protocol expect in a stream
control/             the handlers of control routes
pages/               the web page, and the web pages of model servers
errors/              HTTP errors
"""
