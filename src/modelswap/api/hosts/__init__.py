"""Which hosts and sites may use the program, and which proxies may speak for their clients.

host_and_cors     the rules for `Host`, `Origin` and CORS
site_checks       one request against these rules
page_hosts        host names of models' web pages
kubernetes        local host names in a cluster
trusted_proxies   which proxies may name their clients, the host and the path prefix
"""
