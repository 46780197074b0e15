# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server that has other users than us: what they have is neither taken, nor narrowed, nor missed.

The environments are of several hosts, of which the one with the database is real; the role alone is run on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts.state import BUILD
from tests.integration.conftest import fleet_of
from tests.integration.controller import Controller, Run
from tests.integration.host import Host
from tests.integration.site import PREFIX, settings_of

pytestmark = pytest.mark.long

SECOND_ADDRESS = "10.99.0.5"
SIXTH = "2001:db8::35"
PASSWORD = "kp93mfkq02mc"
PLAY = """\
- hosts: db
  gather_facts: false
  become: true
  roles: [slipway.webapp.webapp]
  tasks:
    - ansible.builtin.setup:
        gather_subset: ["!all", "!min", distribution, network]
    - ansible.builtin.include_role:
        name: slipway.webapp.postgresql
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """The host of the database, and who provisions applications there."""

    host: Host
    directory: Path

    def provision(
        self, app: str, *arguments: str, client: str = "192.0.2.9", address: str = "", **settings: Any
    ) -> Run:
        """Run the role for an application whose web host is elsewhere."""
        place = self.directory / app
        place.mkdir(exist_ok=True)
        given = yaml.safe_load((BUILD / "hosts" / PREFIX / "demo.yml").read_text())["demo"]
        hosts = {
            "db": {
                **given["hosts"]["demo1"],
                "webapp_host_roles": ["database", "broker"],
                "webapp_address": address or self.host.address,
            },
            "app1": {"ansible_host": client, "webapp_host_roles": ["edge", "web", "worker", "beat"]},
        }
        own = settings_of(app, domain=f"{app}.example", directory=place, edge=self.host)
        wanted = {
            **given["vars"],
            **own,
            "webapp_database_password": PASSWORD,
            "webapp_backup_database_url": f"postgresql://{app}_backup:{PASSWORD}@{self.host.address}/{app}",
            "webapp_redis_password": PASSWORD,
            "postgresql_extra_clients": [self.host.address, SECOND_ADDRESS, SIXTH],
            **settings,
        }
        text = yaml.safe_dump({"production": {"hosts": hosts, "vars": wanted}}, width=10_000)
        (place / "hosts.yml").write_text(text)
        (place / "play.yml").write_text(PLAY)
        return Controller().run("ansible-playbook", "-i", str(place / "hosts.yml"), str(place / "play.yml"), *arguments)

    def settled(self, app: str, **settings: Any) -> Run:
        """Provision, and once more, which changes nothing; the first run."""
        first = self.provision(app, **settings).ended(0)
        again = self.provision(app, **settings).ended(0)
        assert again.changed == 0, again.output
        return first

    def sql(self, query: str, *, port: int = 5432) -> str:
        words = f"psql -p {port} -XAtq -v ON_ERROR_STOP=1 -d postgres"
        return self.host.sh(f"runuser -u postgres -- {words} <<'EOF'\n{query}\nEOF").strip()

    def logs_in(self, app: str, address: str) -> bool:
        """Does the application's user get in by the network at this address?"""
        host = f"[{address}]" if ":" in address else address
        url = f"postgresql://{app}:{PASSWORD}@{host}/{app}?sslmode=require&connect_timeout=3"
        return self.host.try_sh(f"psql -XAtqc 'SELECT 1' '{url}'")[0] == 0

    @property
    def place(self) -> str:
        """The directory of the server at the port."""
        return self.sql("SELECT regexp_replace(current_setting('config_file'), '/[^/]+$', '')")

    def unit(self, place: str) -> str:
        version, name = place.split("/")[-2:]
        return f"postgresql@{version}-{name}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A host with PostgreSQL's programs and no cluster, as role backup leaves one, and with further addresses."""
    for hosts in fleet_of("demo"):
        (host,) = hosts.values()
        apt = "DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
        host.sh(
            f"{apt} update; {apt} install -y --no-install-recommends postgresql-common && cd /etc/postgresql-common"
            " && sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' createcluster.conf"
            f" && {apt} install -y --no-install-recommends postgresql python3-psycopg2"
        )
        add_addresses(host)
        yield Server(host=host, directory=tmp_path_factory.mktemp("servers"))


def add_addresses(host: Host) -> None:
    """They are gone after a reboot."""
    # Who asks his own address comes by the loopback device.
    host.sh("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.lo.disable_ipv6=0")
    host.sh(f"ip addr replace {SECOND_ADDRESS}/32 dev eth0")
    host.sh(f"ip addr replace {SIXTH}/64 dev eth0 nodad")


def test_where_there_is_no_cluster_one_is_made(server: Server) -> None:
    assert server.host.sh("pg_lsclusters --no-header").strip() == ""
    checked = server.provision("alpha", "--check", "--diff").ended(0)
    assert checked.changed > 0
    assert server.host.sh("pg_lsclusters --no-header").strip() == ""
    server.settled("alpha")
    assert server.logs_in("alpha", server.host.address)
    assert server.sql("SHOW listen_addresses") == f"localhost,{server.host.address}"
    # Who makes backups is known again: this user has some of the rights that others are refused for.
    rights = server.sql("SELECT rolcreatedb, rolbypassrls, rolsuper FROM pg_roles WHERE rolname = 'alpha_backup'")
    assert rights == "t|t|f"


@pytest.mark.parametrize("rights", ["SUPERUSER", "CREATEDB"])
def test_an_administrator_stays_one(server: Server, rights: str) -> None:
    look = "SELECT * FROM pg_authid ORDER BY rolname"
    server.sql(f"CREATE ROLE boss LOGIN {rights} PASSWORD 'of-somebody-else'")
    try:
        before = (server.sql(look), server.host.sh(f"find {server.place} -type f | xargs md5sum"))
        run = server.provision("alpha", webapp_database_user="boss").refused()
        assert "webapp_database_user names a user of this server who is somebody else" in run.said
        assert f"found: boss with {rights}" in run.said
        if rights == "SUPERUSER":
            url = f"postgresql://boss:{PASSWORD}@{server.host.address}/alpha"
            run = server.provision("alpha", webapp_backup_database_url=url).refused()
            assert "webapp_backup_database_url names a user of this server" in run.said
        assert (server.sql(look), server.host.sh(f"find {server.place} -type f | xargs md5sum")) == before
    finally:
        server.sql("DROP ROLE boss")


def test_a_database_of_somebody_else_stays_theirs(server: Server) -> None:
    server.sql("CREATE ROLE owner LOGIN")
    server.sql("CREATE DATABASE treasure OWNER owner")
    run = server.provision("alpha", webapp_database_name="treasure").refused()
    assert "The database treasure belongs to somebody else" in run.said
    assert "found: the owner owner" in run.said
    assert server.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'treasure'") == "owner"


def test_two_applications_at_two_addresses(server: Server, tell: Callable[[str], None]) -> None:
    """The name of the second one comes first, so its file is read first."""
    server.settled("aaa", webapp_database_host=SECOND_ADDRESS, postgresql_listen_address=SECOND_ADDRESS)
    for app, address in (("alpha", server.host.address), ("aaa", SECOND_ADDRESS)):
        assert server.logs_in(app, address), server.sql("SHOW listen_addresses")
    assert server.provision("alpha").ended(0).changed == 0
    tell(server.sql("SHOW listen_addresses"))


@pytest.mark.parametrize("said", ["*", "localhost,10.99.0.5"])
def test_who_listens_for_others_goes_on_to(server: Server, said: str) -> None:
    """They have set it in postgresql.conf, which is read before our files."""
    server.host.sh(f"pg_conftool {' '.join(server.place.split('/')[-2:])} set listen_addresses '{said}'")
    try:
        server.host.sh(f"systemctl restart {server.unit(server.place)}")
        server.settled("alpha")
        server.settled("aaa", webapp_database_host=SECOND_ADDRESS, postgresql_listen_address=SECOND_ADDRESS)
        listens = server.sql("SHOW listen_addresses")
        assert listens == (said if said == "*" else f"{said},{server.host.address}")
        for app, address in (("alpha", server.host.address), ("aaa", SECOND_ADDRESS)):
            assert server.logs_in(app, address), listens
    finally:
        server.host.sh(f"pg_conftool {' '.join(server.place.split('/')[-2:])} remove listen_addresses")
    server.settled("alpha")
    assert server.sql("SHOW listen_addresses") == f"localhost,{server.host.address},{SECOND_ADDRESS}"


def test_who_has_the_last_word_is_named(server: Server) -> None:
    server.sql("ALTER SYSTEM SET listen_addresses = 'localhost'")
    before = server.sql("SELECT pg_postmaster_start_time()")
    try:
        run = server.provision("alpha").refused()
        assert "found: listen_addresses = 'localhost', in /" in run.said
        assert "postgresql.auto.conf" in run.said
        assert server.sql("SELECT pg_postmaster_start_time()") == before
    finally:
        server.sql("ALTER SYSTEM RESET listen_addresses")
    server.settled("alpha")


def test_a_host_of_the_new_internet_and_clients_by_name(server: Server) -> None:
    server.host.sh("echo '10.99.0.77 app1.internal' >>/etc/hosts")
    server.settled("sixth", address=SIXTH, client="app1.internal")
    assert server.logs_in("sixth", SIXTH)
    rules = server.host.sh(f"sed -n '/BEGIN slipway sixth/,/END/p' {server.place}/pg_hba.conf")
    assert '"sixth" "sixth" 10.99.0.77/32 scram' in rules
    assert "internal" not in rules
    run = server.provision("sixth", address=SIXTH, client="nobody.internal").refused()
    assert "PostgreSQL cannot let in nobody.internal" in run.said
    run = server.provision("sixth", address="203.0.113.7").refused()
    assert "found: 203.0.113.7, and this host has" in run.said


def test_it_is_there_after_a_reboot(server: Server) -> None:
    place = server.place
    server.host.sh(f"sed -i 's/^auto/manual/' {place}/start.conf; systemctl disable -q postgresql")
    server.settled("alpha")
    server.host.restart()
    add_addresses(server.host)
    assert server.sql("SELECT 1") == "1"


def test_the_cluster_at_the_port_is_the_one(server: Server, tell: Callable[[str], None]) -> None:
    """As after an upgrade of the system: the newest one, with the usual name, is at another port."""
    version, name = server.place.split("/")[-2:]
    server.host.sh(f"systemctl stop {server.unit(server.place)}")
    server.host.sh(f"sed -i 's/^port.*/port = 5433/' /etc/postgresql/{version}/{name}/postgresql.conf")
    server.host.sh(f"systemctl start postgresql@{version}-{name}")
    run = server.provision("alpha").refused()
    assert f"found: {version}/{name} at port 5433 (online; start.conf: auto)" in run.said
    server.host.sh(f"pg_createcluster --start --port 5432 {version} old")
    before = server.host.sh(f"find /etc/postgresql/{version}/{name} -type f | xargs md5sum")
    server.settled("alpha")
    assert server.logs_in("alpha", server.host.address)
    assert server.place == f"/etc/postgresql/{version}/old"
    assert server.host.sh(f"find /etc/postgresql/{version}/{name} -type f | xargs md5sum") == before
    # One that somebody keeps from starting is not started.
    server.host.sh(f"systemctl stop postgresql@{version}-old; echo manual >/etc/postgresql/{version}/old/start.conf")
    run = server.provision("alpha").refused()
    assert f"{version}/old at port 5432 (down; start.conf: manual), {version}/main" in run.said or (
        f"{version}/main at port 5433 (online; start.conf: auto), {version}/old" in run.said
    )
    server.host.sh(f"echo auto >/etc/postgresql/{version}/old/start.conf")
    server.provision("alpha").ended(0)
    assert server.logs_in("alpha", server.host.address)
    tell(server.host.sh("pg_lsclusters --no-header"))
