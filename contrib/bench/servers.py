"""How each server is configured, given its accounts, started and stopped for the benchmark."""

import hashlib
import hmac
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

from names import ADDRESSES, DOMAIN, MANY, OTHER

PASSWORD = "secret"
HERE = Path(__file__).resolve().parent


class BenchError(Exception):
    """Something without which there is no result; the message is for whoever runs the benchmark."""


def tree(root):
    """The ids of a process and of all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found, queue = [], [root]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def memory(pids):
    """RSS and PSS in KiB, summed over processes."""
    rss = pss = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                rss += int(line.split()[1])
            elif line.startswith("Pss:"):
                pss += int(line.split()[1])
    return rss, pss


def free_ports(count, address="127.0.0.1", below=0):
    """Ports nobody listens on, outside the range that outgoing connections are given; `below` moves where to begin."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = []
    for port in range(max(1024, min(low, 32768) - 4000 - below), 65000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise BenchError("no free ports")


class Server:
    """One server under test. Subclasses say how it is set up; starting, waiting and ending are the same for all."""

    name = ""
    is_durable = False  # whether what was acknowledged has to outlive SIGKILL
    multiply_rooms = None  # makes so many stored rooms of so many
    asks_literally = False  # whether the targets of SRV records have to be addresses (`NameServer`)
    salts_differ = False  # whether each account has its own salt, so that clients cannot share one derived key

    def __init__(self, work, certificate, accounts, domain=DOMAIN, names=None):
        self.domain = domain
        self.folder = work / (self.name if domain == DOMAIN else f"{self.name}-{domain}")
        self.folder.mkdir()
        self.certificate = certificate  # folder with fullchain.pem, privkey.pem, and ca.pem of who signed them
        self.accounts = accounts
        self.names = names  # the name server, for variants with "s2s"
        self.peer = None  # another server of the same kind, with another domain
        self.c2s, self.c2s_tls = 0, 0
        self.process = None

    def version(self):
        raise NotImplementedError

    def create_accounts(self):
        """Makes u0, u1, … once; they stay for every later start."""
        raise NotImplementedError

    def command(self, variant):
        """Writes the configuration for a variant, a set of "sm", "carbons", "archive", "muc", "muc-archive", "s2s", and
        with the last "domains", for many others, and "volatile", without a copy on disk of what is sent to them.

        Returns the arguments to start with and the environment to add.
        """
        raise NotImplementedError

    def start(self, variant):
        """Starts the server, waits until both ports accept; returns the seconds that took from exec."""
        self.c2s, self.c2s_tls = free_ports(2)
        argv, environment = self.command(variant)
        log = open(self.folder / "output.log", "ab")
        started = time.monotonic()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
            env={**os.environ, **environment}, start_new_session=True)
        log.close()
        opened = [("127.0.0.1", self.c2s), ("127.0.0.1", self.c2s_tls)]
        opened += [self.s2s] if "s2s" in variant else []
        for address in opened:
            while True:
                try:
                    socket.create_connection(address, timeout=1).close()
                    break
                except OSError:
                    pass
                if self.process.poll() is not None:
                    raise BenchError(f"{self.name} ended at start, see below\n{self.tail()}")
                if time.monotonic() - started > 60:
                    raise BenchError(f"{self.name} opened no ports within 60 s\n{self.tail()}")
                time.sleep(0.001)
        return time.monotonic() - started

    @property
    def s2s(self):
        """Where other servers find it."""
        return ADDRESSES[self.domain], self.names.s2s_port

    def tail(self):
        return (self.folder / "output.log").read_text(errors="replace")[-3000:]

    def pids(self):
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} died\n{self.tail()}")
        return tree(self.process.pid)

    def crash(self):
        """Ends the server without asking it."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def stop(self):
        """Ends the server and what it started, by process id: politely first, for at most 10 seconds."""
        if not self.process:
            return
        pids = tree(self.process.pid)
        for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            for pid in pids if sign == signal.SIGKILL else [self.process.pid]:
                try:
                    os.kill(pid, sign)
                except ProcessLookupError:
                    pass
            try:
                self.process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                pass
        self.process = None


class Martlet(Server):
    name = "martlet"
    salts_differ = True
    is_durable = True

    def __init__(self, work, certificate, accounts, binary, module_lines, **options):
        super().__init__(work, certificate, accounts, **options)
        self.binary, self.module_lines = binary, module_lines
        certificates = self.folder / "certs" / self.domain
        certificates.mkdir(parents=True)
        for file in ("fullchain.pem", "privkey.pem"):
            shutil.copy(certificate / file, certificates / file)
        (self.folder / "data").mkdir()

    def version(self):
        result = subprocess.run([self.binary, "--version"], capture_output=True, text=True, timeout=20)
        return result.stdout.strip().removeprefix("martlet ") if result.returncode == 0 else "unknown"

    def configuration(self, variant):
        # All are on by default; a plain client leaves stream management and carbons unused.
        modules = ["sm: on", "carbons: on", f"archive: {'on' if 'archive' in variant else 'off'}", *self.module_lines]
        s2s = "s2s: off, s2s_tls: off"
        if "s2s" in variant:
            s2s = 's2s: "{}:{}", s2s_tls: off'.format(*self.s2s)
            modules += [f"s2s: {{ authorities: {self.certificate}/ca.pem, resolver: [127.0.0.1@{self.names.port}], "
                        "local_zones: [example], queue_length: 100000"
                        f"{', keep_queues: false' if 'volatile' in variant else ''} }}"]
            # One user writes to thousands of strangers there.
            modules += ["brake: off"] if "domains" in variant else []
        rooms = f"archive: {'on' if 'muc-archive' in variant else 'off'}, message_rate: unlimited, presence_rate: unlimited"
        path = self.folder / "martlet.yaml"
        path.write_text(f"data_directory: {self.folder}/data\n"
                        f"certificates: {self.folder}/certs\n"
                        f"hosts: {{ {self.domain}: {{}} }}\n"
                        + (f"components: {{ conference.{DOMAIN}: {{ module: muc, max_rooms: 100000, {rooms} }} }}\n"
                           if "muc" in variant else "") +
                        f'listen: {{ c2s: "127.0.0.1:{self.c2s}", c2s_tls: "127.0.0.1:{self.c2s_tls}", '
                        f'{s2s} }}\n'
                        "modules:\n" + "".join(f"  {line}\n" for line in modules))
        return path

    def create_accounts(self):
        accounts = self.folder / "accounts.txt"
        accounts.write_text("".join(f"u{i}@{self.domain} {PASSWORD}\n" for i in range(self.accounts)))
        self.c2s, self.c2s_tls = free_ports(2)
        result = subprocess.run(
            [self.binary, "user", "import", accounts, "--config", self.configuration(set())],
            capture_output=True, text=True, timeout=300)
        if result.returncode:
            raise BenchError(f"martlet user import failed\n{result.stdout}{result.stderr}")

    def command(self, variant):
        return [self.binary, "run", "--config", str(self.configuration(variant))], {}

    def multiply_rooms(self, count, wanted):
        """Copies the stored rooms r0 … as further ones, with all that is stored of them: to make so many takes hours.

        `value.key` is store << 40 | owner, and the owner of what belongs to a room is its localpart.
        """
        database = sqlite3.connect(next((self.folder / "data").glob("*.sqlite")))
        with database:
            made = database.execute("SELECT id FROM store WHERE name = 'rooms-made'").fetchone()[0]
            for copy in range(1, wanted // count):
                name = f"'r' || (substr(old.name, 2) + {copy * count})"
                rooms = f"name GLOB 'r[0-9]*' AND CAST(substr(name, 2) AS INTEGER) < {count}"
                for statement in (
                    f"INSERT INTO owner (name) SELECT {name} FROM owner AS old WHERE {rooms}",
                    f"CREATE TEMP TABLE pair AS SELECT old.id AS old, new.id AS new FROM owner AS old "
                    f"JOIN owner AS new ON new.name = {name} WHERE old.{rooms.replace('(name', '(old.name')}",
                    "INSERT INTO value (key, value) SELECT value.key - pair.old + pair.new, value FROM pair, store "
                    "JOIN value ON value.key = store.id << 40 | pair.old",
                    "INSERT INTO entry (store, owner, key, value) SELECT store, pair.new, key, value FROM pair "
                    "JOIN entry ON entry.owner = pair.old AND entry.store IN (SELECT id FROM store)",
                    f"INSERT INTO entry (store, owner, key, value) SELECT store, owner, "
                    f"'r' || (substr(key, 2) + {copy * count}), value FROM entry WHERE store = {made} "
                    f"AND CAST(substr(key, 2) AS INTEGER) < {count}",
                    "DROP TABLE pair",
                ):
                    database.execute(statement)
        database.close()


class Prosody(Server):
    name = "prosody"
    hash = "SHA-1"  # what Debian's package offers by default

    def version(self):
        result = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "prosody"], capture_output=True, text=True)
        return result.stdout.strip() or "unknown"

    def create_accounts(self):
        """Writes the account files directly (one salt for all): prosodyctl takes a process for each account."""
        folder = self.folder / "data" / self.domain.replace(".", "%2e") / "accounts"
        folder.mkdir(parents=True)
        hash_name, salt, iterations = self.hash.replace("-", "").lower(), "c0ffee00-bench", 10000
        salted = hashlib.pbkdf2_hmac(hash_name, PASSWORD.encode(), salt.encode(), iterations)
        stored = hashlib.new(hash_name, hmac.digest(salted, b"Client Key", hash_name)).hexdigest()
        server = hmac.digest(salted, b"Server Key", hash_name).hex()
        text = (f'return {{\n\t["iteration_count"] = {iterations};\n\t["salt"] = "{salt}";\n'
                f'\t["server_key"] = "{server}";\n\t["stored_key"] = "{stored}";\n}};\n')
        for index in range(self.accounts):
            (folder / f"u{index}.dat").write_text(text)

    def command(self, variant):
        modules = ["roster", "saslauth", "tls", "disco"]
        modules += [module for part, module in (("sm", "smacks"), ("carbons", "carbons"), ("archive", "mam"))
                    if part in variant]
        s2s = 'modules_disabled = { "s2s" }'
        if "s2s" in variant:
            modules += ["s2s_bidi", "bench_names"]
            addresses = " ".join(f'["{domain}"] = "{address}";' for domain, address in ADDRESSES.items())
            s2s = f"""
s2s_interfaces = {{ "{self.s2s[0]}" }}
s2s_ports = {{ {self.s2s[1]} }}
s2s_secure_auth = true
use_ipv6 = false
plugin_paths = {{ "{HERE}" }}
bench_addresses = {{ {addresses} }}
bench_zone = ".{DOMAIN}"
bench_many = "{MANY}"
bench_port = {self.s2s[1]}"""
        path = self.folder / "prosody.cfg.lua"
        path.write_text(f"""
run_as_root = true
daemonize = false
pidfile = "{self.folder}/prosody.pid"
data_path = "{self.folder}/data"
network_backend = "epoll"
log = {{ warn = "{self.folder}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {self.c2s} }}
c2s_direct_tls_ports = {{ {self.c2s_tls} }}
modules_enabled = {{ {", ".join(f'"{module}"' for module in modules)} }}
{s2s}
authentication = "internal_hashed"
password_hash = "{self.hash}"
c2s_require_encryption = true
ssl = {{ certificate = "{self.certificate}/fullchain.pem"; key = "{self.certificate}/privkey.pem"; cafile = "{self.certificate}/ca.pem" }}
c2s_direct_tls_ssl = ssl
VirtualHost "{self.domain}"
""" + (f"""
Component "conference.{DOMAIN}" "muc"
modules_enabled = {{ {'"muc_mam"' if "muc-archive" in variant else ''} }}
""" if "muc" in variant else ""))
        return ["prosody", "--config", str(path), "-F"], {}


class Ejabberd(Server):
    name = "ejabberd"
    asks_literally = True

    def version(self):
        result = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "ejabberd"], capture_output=True, text=True)
        return result.stdout.strip() or "unknown"

    def erl(self, evaluate, variant):
        pem = self.folder / "ejabberd.pem"
        pem.write_text((self.certificate / "fullchain.pem").read_text()
                       + (self.certificate / "privkey.pem").read_text())
        listener = f"""
    module: ejabberd_c2s
    ip: "127.0.0.1"
    max_stanza_size: 262144
    backlog: 4096"""
        modules = ["mod_roster: {}", "mod_disco: {}"]
        modules += [module for part, module in (("sm", "mod_stream_mgmt: {}"), ("carbons", "mod_carboncopy: {}"))
                    if part in variant]
        if "muc" in variant:
            # Its own limits would keep out all but 200, and shape what occupants send.
            modules += [f"mod_muc: {{host: conference.{DOMAIN}, max_users: 5000, max_users_presence: 5000, "
                        "min_message_interval: 0, min_presence_interval: 0, room_shaper: none, "
                        "default_room_options: {max_users: 5000"
                        f"{', mam: true' if 'muc-archive' in variant else ''}}}}}"]
        if variant & {"archive", "muc-archive"}:
            modules += [f"mod_mam: {{default: {'always' if 'archive' in variant else 'never'}}}"]
        s2s, resolver = "", {}
        if "s2s" in variant:
            s2s = f"""
  -
    port: {self.s2s[1]}
    ip: "{self.s2s[0]}"
    module: ejabberd_s2s_in
    max_stanza_size: 262144
    backlog: 4096
s2s_use_starttls: required"""
            names = self.folder / "inetrc"
            # Without the first line the machine's resolver takes the place of ours.
            names.write_text('{resolv_conf, ""}.\n{lookup, [file, dns]}.\n'
                             f"{{nameserver, {{127,0,0,1}}, {self.names.port}}}.\n")
            resolver = {"ERL_INETRC": str(names)}
        config = self.folder / "ejabberd.yml"
        config.write_text(f"""
hosts: ["{self.domain}"]
loglevel: warning
certfiles: ["{pem}"]
ca_file: "{self.certificate}/ca.pem"
auth_password_format: scram
max_fsm_queue: 20000
access_rules:
  c2s: {{ allow: all }}
listen:
  -
    port: {self.c2s}{listener}
    starttls_required: true
  -
    port: {self.c2s_tls}{listener}
    tls: true{s2s}
modules:
""" + "".join(f"  {module}\n" for module in modules))
        libraries = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin"))
        if not libraries or not shutil.which("erl"):
            raise BenchError("ejabberd is not installed")
        argv = ["erl", "+K", "true", "+P", "250000", "-noinput", "-mnesia", "dir", f'"{self.folder}/spool"',
                "-ejabberd", "log_rate_limit", "1000", "-s", "ejabberd"]
        if evaluate:
            argv += ["-eval", evaluate]
        return argv, {"ERL_LIBS": str(libraries[0].parents[1]), "EJABBERD_CONFIG_PATH": str(config),
                      "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"), "HOME": str(self.folder),
                      "ERL_MAX_PORTS": "32000", "ERL_CRASH_DUMP": str(self.folder / "erl_crash.dump"), **resolver}

    def create_accounts(self):
        """Registers one account and copies its record: hashing for each would take minutes."""
        self.c2s, self.c2s_tls = free_ports(2)
        argv, environment = self.erl(
            "ejabberd:start(), (fun Wait() -> case whereis(ejabberd_auth) of undefined -> timer:sleep(100), Wait();"
            " _ -> timer:sleep(1000) end end)(),"
            f'ok = ejabberd_auth:try_register(<<"u0">>, <<"{self.domain}">>, <<"{PASSWORD}">>),'
            "[P | _] = [X || K <- mnesia:dirty_all_keys(passwd), X <- mnesia:dirty_read(passwd, K)],"
            'Put = fun(I) -> N = list_to_binary("u" ++ integer_to_list(I)),'
            " S = element(2, P), mnesia:dirty_write(setelement(2, P, setelement(1, S, N))) end,"
            f"lists:foreach(Put, lists:seq(1, {self.accounts - 1})),"
            'mnesia:dump_log(), io:format("accounts ready~n"), init:stop().', set())
        result = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=self.folder,
                                stdin=subprocess.DEVNULL, env={**os.environ, **environment}, start_new_session=True)
        if "accounts ready" not in result.stdout:
            raise BenchError(f"ejabberd made no accounts\n{result.stdout[-3000:]}{result.stderr[-3000:]}")

    def command(self, variant):
        return self.erl(None, variant)


def make_certificates(folder):
    """A throw-away CA, and P-256 certificates: for the domain in the folder itself, for the other server in `other`,
    for the many domains in `many`."""
    folder.mkdir()
    script = """set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=Benchmark CA' \
    -keyout ca.key -out ca.pem
issue() {
    mkdir -p "$1"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$1/privkey.pem" -out leaf.csr
    printf "subjectAltName=DNS:$2\\nextendedKeyUsage=serverAuth,clientAuth\\n" > extensions
    openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out leaf.pem
    cat leaf.pem ca.pem > "$1/fullchain.pem"
    [ "$1" = . ] || cp ca.pem "$1"
}
""" + f"""issue . {DOMAIN}
issue other {OTHER}
issue many '*.{DOMAIN}'"""
    result = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)
    if result.returncode:
        raise BenchError(f"openssl failed\n{result.stderr}")
