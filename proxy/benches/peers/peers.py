"""The peers. One small class each: write the configuration for a Spec, return the command line.

A peer's program is found on PATH or by an environment variable: ENVOY_BIN, NGINX_BIN, HAPROXY_BIN, AGENTGATEWAY_BIN.
Any other name N given to --peers runs the command in the variable BENCH_CMD_N, in which {port} and {upstream} are
replaced by port numbers (for prototypes: HTTP/1.1 only, no other feature).
"""
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from measure import LOAD_CPU, PROXY_CPU, ROOT, WORK, WORKERS, Proc, Unsupported, free_port, tool, wait_http


@dataclass
class Spec:
    """What the proxy has to do. A scenario sets what it needs; a peer that cannot raises Unsupported."""
    upstream: int = 0            # port of the backend on 127.0.0.1
    port: int = 0                # to listen on, on 127.0.0.1
    mode: str = "http"           # http, or tcp: pass bytes through
    tls: bool = False            # terminate TLS 1.3; cert and key below; no session resumption
    h2: bool = False             # HTTP/2 downstream (ALPN with tls, else prior knowledge)
    upstream_h2: bool = False    # HTTP/2 upstream, prior knowledge, in clear
    headers: bool = False        # add 3 request headers, remove the response header x-backend, add 2 response headers
    routes: list = field(default_factory=list)  # (host, "exact"|"prefix", path); nothing else matches. Empty: all to upstream
    policies: list = field(default_factory=list)  # (sample in testdata/policies, stage, body mode, configuration); ours alone
    cert: Path = None
    key: Path = None


REQ_ADD = [("x-bench-a", "alpha"), ("x-bench-b", "beta"), ("x-bench-c", "gamma")]
RESP_ADD = [("x-bench-d", "delta"), ("x-bench-e", "epsilon")]
RESP_DEL = "x-backend"


def fresh_log(d):
    """An access log that is not there yet, in a folder of its own: nobody watches that for other changes."""
    log = d / "logs" / "access.log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    return log


class Peer:
    name = ""

    def __init__(self, name=None):
        self.name = name or self.name

    def command(self, s: Spec, d: Path):
        """Writes what it needs under the folder d; returns argv. Runs with its standard streams in a log file."""
        raise NotImplementedError

    env = {}

    takes_policies = False

    def start(self, s: Spec, wait=True):
        if s.policies and not self.takes_policies:
            raise Unsupported("policies")
        s.port = free_port()
        d = WORK / "run" / self.name
        d.mkdir(parents=True, exist_ok=True)
        p = Proc(self.command(s, d), PROXY_CPU, d / "out.log", self.env)
        return answering(p, s) if wait else p

    def start_again(self, s: Spec):
        """Starts as after a first time: with whatever it keeps from it, and nothing but that to begin with."""
        return self.start(s)


def answering(p, s):
    """The proxy p once it answers a first request, and how long that took from its start."""
    host, path = (s.routes[0][0], s.routes[0][2]) if s.routes else ("bench.local", "/1k")
    try:
        p.ready_s = wait_http(s.port, path, host, tls=s.tls, h2=s.h2 and not s.tls, proc=p)
    except BaseException:
        p.stop()
        raise
    return p


class Direct(Peer):
    """No proxy: what the load generator and the backend can do together on their one CPU."""
    name = "direct"

    def start(self, s, wait=True):
        if s.tls or s.h2 != s.upstream_h2 or s.headers or s.routes or s.policies:
            raise Unsupported("direct")
        s.port = s.upstream
        return None


class Envoy(Peer):
    name = "envoy"
    access_log = False
    lean = False

    def command(self, s, d):
        ep = {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": s.upstream}}}}]}
        cluster = {"name": "be", "type": "STATIC", "connect_timeout": "5s",
                   "load_assignment": {"cluster_name": "be", "endpoints": [ep]},
                   "circuit_breakers": {"thresholds": [{"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}]}}
        if s.upstream_h2:
            cluster["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
        if s.mode == "tcp":
            filt = {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "t", "cluster": "be"}}
        else:
            vh = {}
            for h, kind, p in s.routes or [("*", "prefix", "/")]:
                vh.setdefault(h, []).append({"match": {"path" if kind == "exact" else "prefix": p}, "route": {"cluster": "be"}})
            hosts = []
            for h, rs in vh.items():
                v = {"name": h, "domains": [h], "routes": rs}
                if s.headers:
                    v["request_headers_to_add"] = [{"header": {"key": k, "value": x}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for k, x in REQ_ADD]
                    v["response_headers_to_add"] = [{"header": {"key": k, "value": x}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for k, x in RESP_ADD]
                    v["response_headers_to_remove"] = [RESP_DEL]
                hosts.append(v)
            router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
            hcm = {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                   "stat_prefix": "h", "codec_type": "AUTO", "route_config": {"name": "r", "virtual_hosts": hosts},
                   "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}]}
            if self.lean:
                router["suppress_envoy_headers"] = True
                router["dynamic_stats"] = False
                hcm["generate_request_id"] = False
                hcm["server_header_transformation"] = "PASS_THROUGH"
            if self.access_log:
                hcm["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(fresh_log(d)), "log_format": {"json_format": {
                        "start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
                        "protocol": "%PROTOCOL%", "status": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%",
                        "bytes_in": "%BYTES_RECEIVED%", "bytes_out": "%BYTES_SENT%", "duration": "%DURATION%",
                        "host": "%REQ(:AUTHORITY)%", "user_agent": "%REQ(USER-AGENT)%", "request_id": "%REQ(X-REQUEST-ID)%",
                        "upstream": "%UPSTREAM_HOST%", "cluster": "%UPSTREAM_CLUSTER%"}}}}]
            filt = {"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm}
        chain = {"filters": [filt]}
        if s.tls:
            chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True,
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"] if s.h2 else ["http/1.1"],
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                    "tls_certificates": [{"certificate_chain": {"filename": str(s.cert)}, "private_key": {"filename": str(s.key)}}]}}}
        c = {"static_resources": {"clusters": [cluster], "listeners": [{
            "name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": s.port}}, "filter_chains": [chain]}]}}
        (d / "envoy.json").write_text(json.dumps(c))
        return [tool("envoy"), "-c", str(d / "envoy.json"), "--concurrency", str(WORKERS), "--disable-hot-restart", "-l", "error"]


class EnvoyAccessLog(Envoy):
    name = "envoy-accesslog"
    access_log = True


class EnvoyLean(Envoy):
    """No request id, no x-envoy headers, no server header: the least work per request Envoy can be told to do."""
    name = "envoy-lean"
    lean = True


class Nginx(Peer):
    name = "nginx"

    def command(self, s, d):
        mods = os.environ.get("NGINX_MODULES", "/usr/lib/nginx/modules")  # Debian's place; only for mode tcp
        pre = f"worker_processes {WORKERS}; pid {d}/pid; daemon off; error_log {d}/error.log error; worker_rlimit_nofile 20000;\n"
        ev = "events { worker_connections 10000; multi_accept on; }\n"
        up = f"upstream be {{ server 127.0.0.1:{s.upstream}; keepalive 256; keepalive_requests 1000000000; }}\n"
        if s.mode == "tcp":
            c = (f"load_module {mods}/ngx_stream_module.so;\n" + pre + ev +
                 f"stream {{ access_log off; proxy_buffer_size 64k; server {{ listen 127.0.0.1:{s.port} backlog=4096; proxy_pass 127.0.0.1:{s.upstream}; }} }}\n")
        else:
            listen = f"listen 127.0.0.1:{s.port} backlog=4096" + (" ssl" if s.tls else "") + (" http2" if s.h2 else "") + ";"
            pas = ("grpc_pass grpc://be;" if s.upstream_h2 else "proxy_pass http://be; proxy_http_version 1.1; proxy_set_header Connection \"\";")
            tls = (f"ssl_certificate {s.cert}; ssl_certificate_key {s.key}; ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off;\n"
                   if s.tls else "")
            hdr = "".join(f"proxy_set_header {k} {v}; " for k, v in REQ_ADD) + f"proxy_hide_header {RESP_DEL}; " + \
                  "".join(f"add_header {k} {v}; " for k, v in RESP_ADD) if s.headers else ""
            if s.routes:
                by = {}
                for h, kind, p in s.routes:
                    by.setdefault(h, []).append(f"location {'= ' if kind == 'exact' else ''}{p} {{ {pas} }}")
                servers = "".join(f"server {{ {listen} server_name {h};\n" + "\n".join(ls) + "\n}\n" for h, ls in by.items())
                servers += f"server {{ {listen.replace(';', ' default_server;')} return 404; }}\n"
                servers = servers.replace(" backlog=4096", "").replace("default_server;", "default_server backlog=4096;")
            else:
                servers = f"server {{ {listen} location / {{ {pas} {hdr} }} }}\n"
            c = pre + ev + ("http { access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; tcp_nodelay on; sendfile on;\n"
                            "server_names_hash_max_size 4096; server_names_hash_bucket_size 128; http2_max_concurrent_streams 1024;\n"
                            "proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;\n"
                            f"client_body_temp_path {d}/b; proxy_temp_path {d}/p; fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; scgi_temp_path {d}/s;\n"
                            + tls + up + servers + "}\n")
        (d / "nginx.conf").write_text(c)
        return [tool("nginx"), "-c", str(d / "nginx.conf"), "-p", str(d), "-e", str(d / "error.log")]


class Haproxy(Peer):
    name = "haproxy"
    splice = False

    def command(self, s, d):
        bind = f"bind 127.0.0.1:{s.port} backlog 4096"
        if s.tls:
            (d / "pem").write_bytes(s.cert.read_bytes() + s.key.read_bytes())
            bind += f" ssl crt {d}/pem ssl-min-ver TLSv1.3 no-tls-tickets alpn {'h2,http/1.1' if s.h2 else 'http/1.1'}"
        elif s.h2:
            bind += " proto h2"
        c = f"global\n nbthread {WORKERS}\n maxconn 4000\n tune.ssl.cachesize 0\n log /dev/null local0\n"
        c += f"defaults\n mode {s.mode}\n timeout client 300s\n timeout server 300s\n timeout connect 5s\n timeout http-keep-alive 300s\n"
        c += " http-reuse always\n" if s.mode == "http" else ""
        c += " option splice-request\n option splice-response\n" if self.splice else ""
        c += f"frontend f\n {bind}\n"
        if s.headers:
            c += "".join(f" http-request set-header {k} {v}\n" for k, v in REQ_ADD)
            c += f" http-response del-header {RESP_DEL}\n" + "".join(f" http-response set-header {k} {v}\n" for k, v in RESP_ADD)
        if s.routes:
            (d / "exact.map").write_text("".join(f"{h}{p} be\n" for h, k, p in s.routes if k == "exact"))
            (d / "prefix.map").write_text("".join(f"{h}{p} be\n" for h, k, p in s.routes if k == "prefix"))
            c += f" http-request set-var(txn.be) base,map_str({d}/exact.map)\n"
            c += f" http-request set-var(txn.be) base,map_beg({d}/prefix.map) if !{{ var(txn.be) -m found }}\n"
            c += " use_backend %[var(txn.be)] if { var(txn.be) -m found }\n default_backend none\nbackend none\n"
            c += " http-request deny deny_status 404\n"
        else:
            c += " default_backend be\n"
        c += f"backend be\n server s 127.0.0.1:{s.upstream}{' proto h2' if s.upstream_h2 else ''}\n"
        (d / "haproxy.cfg").write_text(c)
        return [tool("haproxy"), "-db", "-f", str(d / "haproxy.cfg")]


class HaproxySplice(Haproxy):
    name = "haproxy-splice"
    splice = True

    def command(self, s, d):
        if s.tls or s.h2:
            raise Unsupported("splice needs plain TCP or HTTP/1.1")
        return super().command(s, d)


class HaproxyTcp(Haproxy):
    """HAProxy as a plain relay of bytes under an HTTP load: the bound below which no HTTP proxy of this shape can come."""
    name = "tcp-relay"

    def command(self, s, d):
        if s.tls or s.h2 != s.upstream_h2 or s.headers or s.routes:
            raise Unsupported("tcp")
        s.mode = "tcp"
        h2, s.h2, s.upstream_h2 = s.h2, False, False
        try:
            return super().command(s, d)
        finally:
            s.h2 = s.upstream_h2 = h2


class Agentgateway(Peer):
    """github.com/agentgateway/agentgateway, static file configuration; AGENTGATEWAY_BIN is the built program."""
    name = "agentgateway"

    def command(self, s, d):
        be = {"host": f"127.0.0.1:{s.upstream}"}
        lst = {"name": "l"}
        if s.mode == "tcp":
            lst.update(protocol="TCP", tcpRoutes=[{"backends": [be]}])
        else:
            lst.update(protocol="HTTPS" if s.tls else "HTTP")
            if s.tls:
                lst["tls"] = {"cert": str(s.cert), "key": str(s.key)}
            be["policies"] = {"http": {"version": "HTTP/2.0" if s.upstream_h2 else "HTTP/1.1"}}
            pol = {"requestHeaderModifier": {"set": dict(REQ_ADD)},
                   "responseHeaderModifier": {"set": dict(RESP_ADD), "remove": [RESP_DEL]}} if s.headers else {}
            rs = []
            for i, (h, k, p) in enumerate(s.routes or [(None, "prefix", "/")]):
                r = {"name": f"r{i}", "matches": [{"path": {"exact" if k == "exact" else "pathPrefix": p}}], "backends": [be]}
                if h:
                    r["hostnames"] = [h]
                if pol:
                    r["policies"] = pol
                rs.append(r)
            lst["routes"] = rs
        c = {"config": {"adminAddr": f"127.0.0.1:{free_port()}", "statsAddr": f"127.0.0.1:{free_port()}",
                        "readinessAddr": f"127.0.0.1:{free_port()}", "workerThreads": WORKERS},
             "binds": [{"port": s.port, "listeners": [lst]}]}
        if os.environ.get("AGENTGATEWAY_LOG", "off") == "off":
            c["frontendPolicies"] = {"accessLog": {"filter": "false"}}
        (d / "config.yaml").write_text(json.dumps(c))
        return [tool("agentgateway"), "-f", str(d / "config.yaml")]

    env = {"RUST_LOG": "error", "WORKER_THREADS": str(WORKERS)}


class Ours(Peer):
    """fleetway-proxy as it is built for release, with its defaults, fed from resource files."""
    name = "ours"
    access_log = False
    takes_policies = True

    def command(self, s, d):
        forward = {"clusters": [{"name": "be"}]}
        resources = [
            {"kind": "Listener", "name": "web", "address": f"127.0.0.1:{s.port}",
             **({"tcp": forward} if s.mode == "tcp" else {"http": {}}),
             **({"tls": {"certificates": ["web"]}} if s.tls else {}),
             **({"access_log": {"path": str(fresh_log(d))}} if self.access_log else {})},
            {"kind": "Cluster", "name": "be", "endpoints": [{"address": f"127.0.0.1:{s.upstream}"}],
             **({"protocol": "HTTP2"} if s.upstream_h2 else {})},
        ]
        rules = {"request_headers": {"set": [{"name": k, "value": v} for k, v in REQ_ADD]},
                 "response_headers": {"set": [{"name": k, "value": v} for k, v in RESP_ADD], "remove": [RESP_DEL]}} if s.headers else {}
        if s.tls:
            certificate = {"chain": Path(s.cert).read_text(), "private_key": Path(s.key).read_text()}
            resources.append({"kind": "Secret", "name": "web", "certificate": certificate})
        for i, (host, kind, path) in enumerate([] if s.mode == "tcp" else s.routes or [("*", "prefix", "/")]):
            resources.append({"kind": "Route", "name": f"r{i}", "match": {"hosts": [host], "path": {kind: path}}, "forward": forward, **rules})
        folder = d / "resources"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for i, (sample, stage, body, config) in enumerate(s.policies):
            wasm = (ROOT / "testdata" / "policies" / f"{sample}.wasm").read_bytes()
            (folder / f"{sample}.wasm").write_bytes(wasm)
            resources.append({"kind": "Policy", "name": f"p{i}", "component": hashlib.sha256(wasm).hexdigest(), "body": body, "config": config})
            resources[0]["http"].setdefault("policies", []).append({"policy": f"p{i}", "stage": stage})
        (folder / "all.json").write_text(json.dumps(resources))
        return [*self.bare(d), "--resources", str(folder)]

    @staticmethod
    def bare(d):
        return [ours(), "--state", str(d / "state"), "--admin", f"127.0.0.1:{free_port()}", "--workers", str(WORKERS), "--log", "error"]

    def start_again(self, s):
        """From the snapshot on its disk, which a management server gave it that is gone by now."""
        d = WORK / "run" / self.name
        shutil.rmtree(d, ignore_errors=True)
        d.mkdir(parents=True)
        s.port = free_port()
        self.command(s, d)
        rest, xds = free_port(), free_port()
        server = Proc([beside("fleetway-xds"), "--data", str(d / "data"), "--rest", f"127.0.0.1:{rest}", "--xds", f"127.0.0.1:{xds}",
                       "--log", "error"], LOAD_CPU, d / "server.log")
        subscribed = [*self.bare(d), "--xds", f"http://127.0.0.1:{xds}", "--node-id", "bench"]
        try:
            wait_http(rest, "/healthz", proc=server)
            subprocess.run([beside("fleetway"), "--server", f"http://127.0.0.1:{rest}", "apply", "--file", str(d / "resources")],
                           check=True, stdout=subprocess.DEVNULL)
            first = answering(Proc(subscribed, PROXY_CPU, d / "first.log"), s)
            try:
                time.sleep(1)  # what it serves is written down in the background
            finally:
                first.stop()
        finally:
            server.stop()
        return answering(Proc(subscribed, PROXY_CPU, d / "out.log", self.env), s)


class OursAccessLog(Ours):
    name = "ours-accesslog"
    access_log = True


def ours():
    """The proxy to measure: OURS_BIN, else what `cargo build --release` made."""
    built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return os.environ.get("OURS_BIN", str(built / "release" / "fleetway-proxy"))


def beside(program):
    """Another program of the same build."""
    found = Path(ours()).parent / program
    if not found.exists():
        raise Unsupported(f"{found} is not there")
    return str(found)


class Command(Peer):
    """A prototype, from BENCH_CMD_<name>. BENCH_FLAGS_<name> lists what else it can: tls, h2; the options --cert, --key,
    --h2 and --h2c are then added to the command."""

    def command(self, s, d):
        n = self.name.replace("-", "_")
        can = os.environ.get("BENCH_FLAGS_" + n, "")
        if s.mode != "http" or s.upstream_h2 or s.headers or s.routes or s.tls and "tls" not in can or s.h2 and "h2" not in can:
            raise Unsupported("prototype")
        a = shlex.split(os.environ["BENCH_CMD_" + n].format(port=s.port, upstream=s.upstream, dir=d))
        if s.tls:
            a += ["--cert", str(s.cert), "--key", str(s.key)] + (["--h2"] if s.h2 else [])
        elif s.h2:
            a += ["--h2c"]
        return a


REGISTRY = {c.name: c for c in (Direct, HaproxyTcp, Envoy, EnvoyAccessLog, EnvoyLean, Nginx, Haproxy, HaproxySplice, Agentgateway, Ours, OursAccessLog)}


def get(name):
    if name in REGISTRY:
        return REGISTRY[name]()
    if "BENCH_CMD_" + name.replace("-", "_") in os.environ:
        return Command(name)
    raise SystemExit(f"unknown peer {name}: one of {', '.join(REGISTRY)}, or set BENCH_CMD_{name}")
