"""Servers that a test starts for itself, on free ports and in folders of their own.

They come from packages of the system (`.ci/run` installs them). A missing one fails the test. Each
class starts its server when it is made, and `close` ends it. Use `contextlib.closing`.
"""

from __future__ import annotations

import os
import pwd
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.engines import die_with_parent, free_port, wait_until

_START_SECONDS = 30


class Server:
    """A server process with a folder of its own and a log."""

    name: str

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"fs-{self.name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.log = self.folder / "log"
        self.start()

    def command(self) -> list[str]:
        """Return the command line."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether the server serves."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def prepare(self) -> None:
        """Write what the server needs before its first start."""

    def start(self) -> None:
        """Start the server and wait until it serves."""
        self.prepare()
        user = self.user()
        uid, gid = (None, None) if user is None else (user.pw_uid, user.pw_gid)
        if user is not None:
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, user.pw_uid, user.pw_gid)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                preexec_fn=die_with_parent,
                start_new_session=True,
                user=uid,
                group=gid,
            )
        wait_until(self._is_up, _START_SECONDS)

    def user(self) -> pwd.struct_passwd | None:
        """Return the user that the server runs as; None for the user of the test."""
        return None

    def signal(self, number: int) -> None:
        """Send a signal to the server and its children."""
        os.killpg(self.process.pid, number)

    @contextmanager
    def stopped(self):
        """Stop the server, as a machine that hangs does: the kernel still accepts packets."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the server and its children."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Kill the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"{self.name}: {self.log.read_text()[-2000:]}"
        return self.answers()


class PostgreSQL(Server):
    """A PostgreSQL instance, with a superuser `root` that needs no password."""

    name = "postgresql"

    def __init__(self, *initdb: str, **settings: object) -> None:
        self._initdb, self._settings = initdb, settings
        super().__init__()

    def user(self):
        return pwd.getpwnam("postgres") if os.getuid() == 0 else None

    def prepare(self) -> None:
        if (self.folder / "data").exists():
            return
        user = self.user()
        identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid}
        if user is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        command = [_postgresql("initdb"), "-D", "data", "-U", "root", "-A", "trust", "-N"]
        encoding = [] if any("-E" in part for part in self._initdb) else ["-E", "UTF8"]
        subprocess.run(
            [*command, *encoding, "--no-locale", *self._initdb],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **identity,
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            **self._settings,
        }
        options = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        return [_postgresql("postgres"), "-D", str(self.folder / "data"), *options]

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        """Run one statement as the superuser, outside a transaction."""
        with psycopg.connect(
            f"host=127.0.0.1 port={self.port} user=root dbname={database} connect_timeout=5",
            autocommit=True,
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def fresh_database(self):
        """Create an empty database, yield its name, and drop it."""
        name = f"feedsvc_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        yield name
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """Return the URL of a database, through another port if one is given."""
        return f"postgresql+psycopg://root@127.0.0.1:{port or self.port}/{database}"

    def signal(self, number: int) -> None:
        """Send a signal to every process of the server. Each backend has its own process group."""
        children = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        for pid in [self.process.pid, *map(int, children)]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class PgBouncer(Server):
    """PgBouncer in transaction mode, in front of a PostgreSQL instance."""

    name = "pgbouncer"

    def __init__(self, postgresql: PostgreSQL, pool_size: int = 4) -> None:
        self._postgresql, self._pool_size = postgresql, pool_size
        super().__init__()

    def user(self):
        return pwd.getpwnam("postgres") if os.getuid() == 0 else None

    def prepare(self) -> None:
        (self.folder / "users").write_text('"root" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"""[databases]
* = host=127.0.0.1 port={self._postgresql.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {self.folder}/users
pool_mode = transaction
default_pool_size = {self._pool_size}
"""
        )

    def command(self) -> list[str]:
        return ["/usr/sbin/pgbouncer", str(self.folder / "pgbouncer.ini")]


class Redis(Server):
    """A Redis server; `options` are those of its command line, with `_` for `-`."""

    name = "redis"

    def __init__(self, **options: object) -> None:
        self._options = options
        super().__init__()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": self.folder,
            **self._options,
        }
        return [
            "redis-server",
            *(
                str(part)
                for name, value in options.items()
                for part in (f"--{name.replace('_', '-')}", *str(value).split("\n"))
            ),
        ]

    def client(self, **options) -> redis.Redis:
        """Return a client of the operator, who may do everything."""
        return redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), **options)


class TlsRedis(Redis):
    """A Redis server with TLS alone. It demands a client certificate of the authority."""

    def __init__(self, certificates: Certificates, **options: object) -> None:
        self._certificates = certificates
        super().__init__(**options)
        self.url = f"rediss://127.0.0.1:{self.port}/0?{self.options_of(certificates)}"

    @staticmethod
    def options_of(certificates: Certificates) -> str:
        """Return the options of a URL: the authority to trust, and the client's certificate."""
        return (
            f"ssl_ca_certs={certificates.authority}&ssl_certfile={certificates.client}"
            f"&ssl_keyfile={certificates.client_key}"
        )

    def command(self) -> list[str]:
        certificates = self._certificates
        options = {
            "port": 0,
            "tls-port": self.port,
            "tls-cert-file": certificates.server,
            "tls-key-file": certificates.server_key,
            "tls-ca-cert-file": certificates.authority,
            "tls-auth-clients": "yes",
        }
        tls = (str(part) for name, value in options.items() for part in (f"--{name}", value))
        return [*super().command(), *tls]


class Certificates:
    """A private authority, a server's certificate for 127.0.0.1 and localhost, and a client's."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fs-certificates-"))
        self.folder.chmod(0o755)
        self.authority = self.folder / "authority.crt"
        self._openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
            "/CN=feedsvc test authority", "-keyout", "authority.key", "-out", "authority.crt",
        )  # fmt: skip
        self.server, self.server_key = self._issue("server")
        self.client, self.client_key = self._issue("client")

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _issue(self, name: str) -> tuple[Path, Path]:
        (self.folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self._openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "authority.crt", "-CAkey", "authority.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", f"{name}.crt",
        )  # fmt: skip
        for key in self.folder.glob("*.key"):
            key.chmod(0o644)  # servers that run as another user read it
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


class Nginx(Server):
    """nginx; `locations` is what stands inside its one `server` block."""

    name = "nginx"

    def __init__(self, locations: str, certificates: Certificates | None = None) -> None:
        self._locations, self._certificates = locations, certificates
        super().__init__()
        scheme = "https" if certificates else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        tls = ""
        if self._certificates is not None:
            tls = (
                f"ssl_certificate {self._certificates.server};\n"
                f"ssl_certificate_key {self._certificates.server_key};\n"
            )
        temporary = "".join(
            f"{part}_temp_path {self.folder}/{part};\n"
            for part in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"""daemon off;
pid {self.folder}/pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  {temporary}
  server {{
    listen 127.0.0.1:{self.port}{" ssl" if tls else ""};
    {tls}
    {self._locations}
  }}
}}
"""
        )

    def command(self) -> list[str]:
        return ["nginx", "-c", str(self.folder / "nginx.conf")]


class Proxy:
    """A TCP proxy in this process, which can swallow packets as a firewall does.

    `swallow_existing` makes the open connections dead without closing them; new ones work.
    `swallow_all` swallows also what new connections send. `passes` lets everything through again,
    except on connections that were made dead by `swallow_existing`.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._dead: set[socket.socket] = set()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._swallows = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def swallow_existing(self) -> None:
        self._dead |= set(self._peers)

    def swallow_all(self) -> None:
        self._swallows = True

    def passes(self) -> None:
        self._swallows = False

    def close(self) -> None:
        self._closed.set()
        self._thread.join(5)
        for each in [self._listener, *self._peers]:
            each.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            for key, _ in self._selector.select(0.05):
                self._serve(key.fileobj)

    def _serve(self, ready) -> None:
        if ready is self._listener:
            inside, _ = self._listener.accept()
            outside = socket.create_connection(("127.0.0.1", self._target))
            self._peers |= {inside: outside, outside: inside}
            for each in (inside, outside):
                self._selector.register(each, selectors.EVENT_READ)
            return
        if ready not in self._peers:  # closed a moment ago, with its peer
            return
        try:
            data = ready.recv(65536)
        except OSError:
            data = b""
        if self._swallows or ready in self._dead:
            if not data:
                self._selector.unregister(ready)
            return
        peer = self._peers[ready]
        with suppress(OSError):
            if data:
                peer.sendall(data)
                return
        for each in (ready, peer):
            with suppress(KeyError, ValueError):
                self._selector.unregister(each)
            self._peers.pop(each, None)
            each.close()


class Part:
    """A process of the service, or of a server that runs it: `command` with `settings` around it.

    `settings` are the names of the settings without prefix, in lower case. Variables of the test's
    own environment that name settings are left out.
    """

    def __init__(self, *command: str, cwd: Path | None = None, **settings: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fs-part-"))
        self.log = self.folder / "log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if "FEEDSVC_" not in name},
            "PYTHONUNBUFFERED": "1",
            **{f"FEEDSVC_{name.upper()}": str(value) for name, value in settings.items()},
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )

    def output(self) -> str:
        """Return what the process has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, url: str, seconds: float = _START_SECONDS) -> None:
        """Wait until the address answers with a status below 500."""
        wait_until(lambda: self._is_alive() and _status(url) < 500, seconds)

    def wait_for_text(self, text: str, seconds: float = _START_SECONDS) -> None:
        """Wait until the process has printed a text."""
        wait_until(lambda: text in self.output() or not self._is_alive(), seconds)
        assert text in self.output()

    def stop(self, number: int = signal.SIGTERM, seconds: float = 25) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def close(self) -> None:
        """Kill the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_alive(self) -> bool:
        assert self.process.poll() is None, self.output()[-3000:]
        return True


def _status(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        time.sleep(0.05)
        return 599


def _postgresql(name):
    """Return the path of a program of the newest PostgreSQL that the system has."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    assert places, "PostgreSQL's server is not installed"
    return str(places[-1])
