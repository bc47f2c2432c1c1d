"""Servers that a test starts for itself, on free ports and in folders of their own.

They come from packages of the system (`.ci/run` installs them). A missing one fails the test. Each
class starts its server when it is made, and `close` ends it. Use `contextlib.closing`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
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
        command = [postgresql_program("initdb"), "-D", "data", "-U", "root", "-A", "trust", "-N"]
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
        return [postgresql_program("postgres"), "-D", str(self.folder / "data"), *options]

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


def postgresql_program(name):
    """Return the path of a program of the newest PostgreSQL that the system has."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    assert places, "PostgreSQL's server is not installed"
    return str(places[-1])
