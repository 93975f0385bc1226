"""docs/examples/alembic: its commands, run as a user runs them, on databases of their
own. What they made is read from PostgreSQL's catalogs, not by SQLAlchemy."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

import pgasync
from pgasync import conninfo

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "alembic"
TIMEOUT_S = 60
NO_CHANGE = "No new upgrade operations detected."

# A line for every column, constraint, index, enum, comment.
CATALOG = """
select format('%s %s: %s', c.oid::regclass, a.attname, concat_ws(' ',
    format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end,
    case a.attidentity when 'a' then 'always' when 'd' then 'by default' end,
    case when a.attgenerated <> '' then 'computed' end,
    pg_get_expr(d.adbin, d.adrelid), l.collname,
    col_description(c.oid, a.attnum)))
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
left join pg_collation l on l.oid = a.attcollation and l.collname <> 'default'
where c.relkind = 'r' and not a.attisdropped and {0}
union all
select format('%s %s: %s', conrelid::regclass, conname, pg_get_constraintdef(c.oid))
from pg_constraint c where contype <> 'n' and {1}
union all
select concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid)
from pg_index join pg_class c on c.oid = indexrelid where {0}
union all
select format('%s: %s', t.oid::regtype,
    (select string_agg(enumlabel, ',' order by enumsortorder)
    from pg_enum where enumtypid = t.oid))
from pg_type t where typtype = 'e'
union all
select format('%s: %s %s', c.oid::regclass, relkind, obj_description(c.oid, 'pg_class'))
from pg_class c where relkind in ('r', 'S') and {0}
order by 1
""".format(
    "c.relnamespace in ('public'::regnamespace, to_regnamespace('audit'))",
    "c.connamespace in ('public'::regnamespace, to_regnamespace('audit'))",
)


class Project:
    """A copy of the example, with a database."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.dsn = dsn
        self.url = f"postgresql+pgasync://{dsn.partition('://')[2]}"
        self.models = folder / "models.py"

    def run(self, *command: str, expect: int = 0) -> str:
        """What a program of this environment prints."""
        env = {**os.environ, "DATABASE_URL": self.url, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr if expect else done.stdout

    def alembic(self, *arguments: str, expect: int = 0) -> str:
        return self.run("-m", "alembic", *arguments, expect=expect)

    def checked(self) -> bool:
        """Whether the models and the database agree."""
        return NO_CHANGE in self.alembic("check")

    def snapshot(self) -> list[str]:
        """The schema, as PostgreSQL describes it."""

        async def read() -> list[str]:
            async with pgasync.connect(self.dsn) as conn:
                return [row[0] for row in await conn.fetch(CATALOG)]

        return asyncio.run(read())

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """The rows of the last of them."""

        async def run() -> list[tuple[Any, ...]]:
            async with pgasync.connect(self.dsn) as conn:
                rows = [await conn.fetch(sql) for sql in statements]
                return [tuple(row) for row in rows[-1]]

        return asyncio.run(run())

    def edit(self, *pairs: tuple[str, str]) -> None:
        """Replaces in models.py, each exactly once."""
        text = self.models.read_text()
        for old, new in pairs:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.models.write_text(text)


async def run_outside(dsn: str, sql: str) -> None:
    async with pgasync.connect(dsn, autocommit=True) as conn:
        await conn.execute(sql)


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Any:
    name = f"alembic_{secrets.token_hex(6)}"
    asyncio.run(run_outside(dsn, f"create database {name}"))
    config = conninfo.parse(dsn)
    before, found, after = dsn.rpartition(f"/{config.dbname}")
    assert found, "PGASYNC_TEST_DSN has to name its database"
    folder = tmp_path / "alembic"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    yield Project(folder, f"{before}/{name}{after}")
    asyncio.run(run_outside(dsn, f"drop database {name} with (force)"))


def test_up_down_and_up(project: Project) -> None:
    project.alembic("upgrade", "head")
    assert project.checked()
    newest = project.snapshot()
    assert any("ix_entry_tags ON public.entry USING gin" in line for line in newest)
    assert "entry_kind: sale,refund,gift" in newest
    project.alembic("downgrade", "base")
    left = project.snapshot()
    assert len(left) == 4
    assert all("alembic_version" in line for line in left)
    project.alembic("upgrade", "head")
    assert project.snapshot() == newest
    assert "0003" in project.alembic("current")


def test_step_by_step(project: Project) -> None:
    """With rows: each revision keeps them, and comes back to what was before it."""
    project.alembic("upgrade", "0001")
    project.execute("insert into account (email) values ('ada@example.org')")
    first = project.snapshot()
    project.alembic("upgrade", "+1")
    project.execute(
        "insert into entry (account_id, kind, amount, tags)"
        " select id, 'gift', 12.5, '{a,b}' from account"
    )
    second = project.snapshot()
    project.alembic("upgrade", "+1")
    assert project.execute("select domain from account") == [("example.org",)]
    project.alembic("downgrade", "-1")
    assert project.snapshot() == second
    project.alembic("downgrade", "-1")
    assert project.snapshot() == first
    assert project.execute("select kind, tags from entry") == [("sale", ["a", "b"])]


FAILING = """
from alembic import op

revision, down_revision = "0004", "0003"


def upgrade():
    op.execute("create table half (a int)")
    op.execute("alter table account add column half int")
    op.execute("insert into half select 1 / count(*) from account")
"""


def test_a_revision_that_fails(project: Project) -> None:
    """It is rolled back, those before it are not; put right, it goes on from there."""
    versions = project.folder / "migrations" / "versions"
    (versions / "0004_failing.py").write_text(FAILING)
    output = project.alembic("upgrade", "head", expect=1)
    assert "DivisionByZero" in output
    assert "0003" in project.alembic("current")
    assert project.execute("select to_regclass('half')") == [(None,)]
    project.execute("insert into account (email) values ('ada@example.org')")
    project.alembic("upgrade", "head")
    assert "0004" in project.alembic("current")


def test_offline(project: Project) -> None:
    """--sql: a script that psql can run makes the same schema."""
    project.alembic("upgrade", "head")
    wanted = project.snapshot()
    project.alembic("downgrade", "base")
    script = project.alembic("upgrade", "head", "--sql")
    assert "CREATE INDEX CONCURRENTLY" in script
    project.execute("drop table alembic_version")
    words = re.findall(r"^(BEGIN|COMMIT);$", script, re.MULTILINE)
    assert words == ["BEGIN", "COMMIT"] * 4  # one of them for the block without
    # One statement after the other, as psql does.
    statements = [part.strip() for part in script.split(";")]

    async def play() -> None:
        async with pgasync.connect(project.dsn, autocommit=True) as conn:
            for statement in filter(None, statements):
                await conn.execute(statement)

    asyncio.run(play())
    assert project.snapshot() == wanted
    assert project.checked()
    down = project.alembic("downgrade", "head:base", "--sql")
    assert "DROP TYPE entry_kind" in down


# Autogenerate

COLUMN = "    email: Mapped[str] = mapped_column("
NEW_TABLE = """

class Mood(enum.Enum):
    good = "good"
    bad = "it's bad"


MoodType = sa.Enum(Mood, name="mood", schema="audit", values_callable=lambda kind: [
    item.value for item in kind
])


class Extra(Base):
    __tablename__ = "extra"
    __table_args__ = (
        sa.UniqueConstraint("code", "small"),
        sa.UniqueConstraint("real", postgresql_nulls_not_distinct=True),
        sa.CheckConstraint("small > 0", name="small"),
        pg.ExcludeConstraint(("during", "&&"), name="ex_extra_during", using="gist"),
        sa.Index("ix_extra_lower", sa.text("lower(code)"), unique=True),
        sa.Index("ix_extra_part", "small", postgresql_where=sa.text("small > 5")),
        sa.Index("ix_extra_incl", "small", postgresql_include=["code"]),
        sa.Index("ix_extra_ops", "code", postgresql_ops={"code": "text_pattern_ops"}),
        sa.Index("ix_extra_two", sa.text("upper(code)"), sa.text("small DESC")),
        sa.Index(
            "ix_extra_data",
            "data",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        ),
        {"schema": "audit", "comment": "Everything"},
    )

    id = mapped_column(
        sa.BigInteger, sa.Identity(start=9, increment=5), primary_key=True
    )
    code = mapped_column(sa.String(20), comment="It's a code", nullable=False)
    small = mapped_column(sa.SmallInteger, server_default="7")
    mood = mapped_column(MoodType, server_default="good")
    moods = mapped_column(pg.ARRAY(MoodType))
    tags = mapped_column(pg.ARRAY(sa.Text), server_default="{}")
    grid = mapped_column(pg.ARRAY(sa.Integer, dimensions=2))
    data = mapped_column(pg.JSONB, server_default=sa.text("'{}'"))
    old = mapped_column(pg.JSON)
    price = mapped_column(sa.Numeric(10, 3))
    total = mapped_column(sa.Numeric(12, 3), sa.Computed("price * 2", persisted=True))
    real = mapped_column(sa.Double)
    at = mapped_column(pg.TIMESTAMP(timezone=True), server_default=sa.func.now())
    ms = mapped_column(pg.TIMESTAMP(timezone=True, precision=3))
    naive = mapped_column(sa.DateTime)
    day = mapped_column(sa.Date, server_default=sa.text("CURRENT_DATE"))
    clock = mapped_column(sa.Time(timezone=True))
    span = mapped_column(sa.Interval, server_default=sa.text("'1 day'::interval"))
    months = mapped_column(pg.INTERVAL(fields="YEAR TO MONTH"))
    ident = mapped_column(sa.Uuid, server_default=sa.func.gen_random_uuid())
    flag = mapped_column(sa.Boolean, server_default=sa.true())
    blob = mapped_column(sa.LargeBinary, server_default=sa.text("'x'::bytea"))
    during = mapped_column(pg.TSTZRANGE)
    many = mapped_column(pg.INT4MULTIRANGE)
    address = mapped_column(pg.INET)
    bits = mapped_column(pg.BIT(5))
    words = mapped_column(pg.TSVECTOR, sa.Computed("to_tsvector('english', code)"))
    sorted = mapped_column(sa.Text(collation="C"))
    account_id = mapped_column(
        sa.ForeignKey(Account.id, ondelete="SET NULL", deferrable=True)
    )
"""
EDITS = [
    (
        "email: Mapped[str] = mapped_column(sa.String(200), unique=True)",
        'email: Mapped[str] = mapped_column(sa.Text, unique=True, comment="Where to")\n'
        "    age: Mapped[int | None] = mapped_column(\n"
        '        sa.Integer, sa.Computed("length(domain)")\n'
        "    )\n"
        "    until: Mapped[dt.datetime] = mapped_column(\n"
        "        sa.TIMESTAMP(timezone=True),\n"
        "        server_default=sa.text(\"now() + interval '1 day'\"),\n"
        "    )\n"
        '    level: Mapped[Any] = mapped_column(sa.Enum("low", "high", name="level"))',
    ),
    ('server_default="")', 'server_default="none")'),
    ("sa.Numeric(12, 2)", "sa.Numeric(14, 4)"),
    ('"Who did what"', '"Who changed what"'),
    ('        sa.Index("ix_entry_tags", "tags", postgresql_using="gin"),\n', ""),
]
NEW = {
    "account age: integer computed length((domain)::text)",
    "account level: level not null",
    "account email: text not null Where to",
    "account domain: character varying(200) not null 'none'::character varying",
    "entry amount: numeric(14,4) not null",
    "audit.change: r Who changed what",
    "level: low,high",
    "audit.mood: good,it's bad",
    "audit.extra: r Everything",
    "audit.extra id: bigint not null by default",
    "audit.extra code: character varying(20) not null It's a code",
    "audit.extra mood: audit.mood 'good'::audit.mood",
    "audit.extra moods: audit.mood[]",
    "audit.extra grid: integer[]",
    "audit.extra total: numeric(12,3) computed (price * (2)::numeric)",
    "audit.extra ms: timestamp(3) with time zone",
    "audit.extra clock: time with time zone",
    "audit.extra months: interval year to month",
    "audit.extra ident: uuid gen_random_uuid()",
    "audit.extra many: int4multirange",
    "audit.extra bits: bit(5)",
    "audit.extra sorted: text C",
    "audit.extra uq_extra_code_small: UNIQUE (code, small)",
    'audit.extra uq_extra_real: UNIQUE NULLS NOT DISTINCT ("real")',
    "audit.extra ex_extra_during: EXCLUDE USING gist (during WITH &&)",
    "audit.extra fk_extra_account_id: FOREIGN KEY (account_id) REFERENCES account(id)"
    " ON DELETE SET NULL DEFERRABLE",
    "CREATE UNIQUE INDEX ix_extra_lower ON audit.extra USING btree"
    " (lower((code)::text)) t",
    "CREATE INDEX ix_extra_part ON audit.extra USING btree (small) WHERE (small > 5) t",
    "CREATE INDEX ix_extra_incl ON audit.extra USING btree (small) INCLUDE (code) t",
    "CREATE INDEX ix_extra_ops ON audit.extra USING btree (code text_pattern_ops) t",
    "CREATE INDEX ix_extra_two ON audit.extra USING btree (upper((code)::text),"
    " small DESC) t",
    "CREATE INDEX ix_extra_data ON audit.extra USING gin (data)"
    " WITH (fastupdate=off) t",
}


def test_autogenerate(project: Project) -> None:
    """A revision from changed models: it makes what they say, and nothing is left to
    do; it can be undone and done again."""
    project.alembic("upgrade", "head")
    before = project.snapshot()
    project.edit(*EDITS)
    project.models.write_text(project.models.read_text() + NEW_TABLE)
    assert "New upgrade operations detected" in project.alembic("check", expect=255)
    project.alembic("revision", "--autogenerate", "-m", "more", "--rev-id", "0004")
    project.alembic("upgrade", "head")
    after = project.snapshot()
    assert set(after) >= NEW, sorted(NEW - set(after))
    assert not any("ix_entry_tags" in line for line in after)
    assert project.checked()
    project.alembic("downgrade", "-1")
    assert project.snapshot() == before
    project.alembic("upgrade", "head")
    assert project.snapshot() == after


def test_autogenerate_of_what_goes(project: Project) -> None:
    """Tables and types that the models have no more; the downgrade makes them again."""
    project.alembic("upgrade", "head")
    before = project.snapshot()
    text = project.models.read_text()
    cut = re.sub(r"class Entry\(Base\):.*?(?=class Change)", "", text, flags=re.DOTALL)
    assert cut != text
    project.models.write_text(cut)
    project.alembic("revision", "--autogenerate", "-m", "less", "--rev-id", "0004")
    project.alembic("upgrade", "head")
    assert not any("entry" in line for line in project.snapshot())
    assert project.checked()
    project.alembic("downgrade", "-1")
    assert project.snapshot() == before


# Types of extensions, and server defaults in the words of a model, not of PostgreSQL.
DEFAULTS = """

from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR


class Defaults(Base):
    __tablename__ = "defaults"
    __table_args__ = (
        sa.Index(
            "near",
            "embedding",
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "vector_l2_ops"},
            postgresql_with={"m": 8},
        ),
        sa.Index("ix_defaults_data", sa.text("(data ->> 'a')")),
    )

    id = mapped_column(sa.Integer, primary_key=True)
    data = mapped_column(pg.JSONB)
    embedding = mapped_column(VECTOR(3))
    halves = mapped_column(HALFVEC(4))
    sparse = mapped_column(SPARSEVEC(5))
    store = mapped_column(pg.HSTORE, server_default=sa.text("''::hstore"))
    blind = mapped_column(pg.CITEXT, server_default="a%b:c")
    code = mapped_column(pg.DOMAIN("code", sa.String(10), create_type=False))
    at = mapped_column(sa.Time, server_default="12:00")
    span = mapped_column(sa.Interval, server_default="1 day")
    number = mapped_column(sa.Numeric(5, 2), server_default="1.50")
    double = mapped_column(sa.Float, server_default=sa.text("1.5"))
    flag = mapped_column(sa.Boolean, server_default=sa.false())
    name = mapped_column(sa.Uuid, server_default="00000000-0000-0000-0000-000000000001")
    numbers = mapped_column(pg.ARRAY(sa.Integer), server_default="{1,2}")
    range = mapped_column(pg.INT4RANGE, server_default="[1,3)")
    address = mapped_column(pg.INET, server_default="10.0.0.1")
    price = mapped_column(pg.MONEY)
    an_oid = mapped_column(pg.OID)
    relation = mapped_column(pg.REGCLASS)
    when = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.text("'2026-01-01 00:00:00+00'")
    )
    kind = mapped_column(sa.Enum(Kind, name="entry_kind"), server_default="gift")
    big = mapped_column(sa.BigInteger, sa.Identity(start=5, minvalue=1, cycle=True))
"""
CREATE = """
import asyncio
import os

import models
from sqlalchemy.ext.asyncio import create_async_engine


async def main():
    engine = create_async_engine(os.environ["DATABASE_URL"])
    async with engine.begin() as conn:
        await conn.run_sync(models.Base.metadata.create_all)
    await engine.dispose()


asyncio.run(main())
"""


def test_no_noise(project: Project) -> None:
    """Autogenerate finds nothing to do behind a create_all(), nor behind what it has
    written itself, with the imports that it takes."""
    project.alembic("upgrade", "head")
    extensions = ("vector", "hstore", "citext")
    available = "select name from pg_available_extensions"
    missing = {*extensions} - {name for (name,) in project.execute(available)}
    if missing:
        pytest.skip(f"the server has no extensions {sorted(missing)}")
    project.execute(
        *(f"create extension {name}" for name in extensions),
        "create domain code as varchar(10) check (value <> 'X')",
    )
    project.models.write_text(project.models.read_text() + DEFAULTS)
    project.run("-c", CREATE)
    assert project.checked()
    made = project.snapshot()
    project.execute("drop table defaults")
    project.alembic("revision", "--autogenerate", "-m", "more", "--rev-id", "0004")
    project.alembic("upgrade", "head")
    assert project.checked()
    assert project.snapshot() == made


# Inside of a running event loop, beside the application


def test_in_a_running_loop(project: Project) -> None:
    """Three processes at once: one migrates, the others find it done."""
    env = {**os.environ, "DATABASE_URL": project.url, "PYTHONDONTWRITEBYTECODE": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "upgrade.py"],
            cwd=project.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    for process in running:
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, output
    assert project.checked()


POOL = 8
CHANGES = 12  # of the table: what test_beside_an_application does, and a few


class Traffic:
    """An application that goes on while its tables change."""

    def __init__(self, url: str) -> None:
        self.engine = create_async_engine(url, pool_size=POOL, max_overflow=0)
        self.going = True
        self.done = 0
        self.retried = 0

    async def reader(self, level: str | None) -> None:
        """One statement a transaction, of every column there is: "*"."""
        options = {} if level is None else {"isolation_level": level}
        engine = self.engine.execution_options(**options)
        query = sa.text("select * from account where email <> :other")
        while self.going:
            async with engine.connect() as conn:
                assert (await conn.execute(query, {"other": "x"})).all()
            await self.pause()

    async def writer(self, number: int) -> None:
        """A transaction that begins with a statement of every column."""
        insert = sa.text("insert into account (email) values (:email) returning *")
        count = sa.text("select count(*) from account")
        while self.going:
            async with self.engine.begin() as conn:
                email = f"{secrets.token_hex(8)}@{number}.example.org"
                await conn.execute(insert, {"email": email})
                assert await conn.scalar(count)
            await self.pause()

    async def latecomer(self) -> None:
        """A transaction whose second statement may be refused, when the migration has
        gone between them: tried again, as the error says."""
        first = sa.text("select 1")
        second = sa.text("select * from account limit 3")
        while self.going:
            try:
                async with self.engine.begin() as conn:
                    await conn.execute(first)
                    assert (await conn.execute(second)).all()
            except sa.exc.DBAPIError as error:
                assert isinstance(error.orig, pgasync.errors.InvalidCachedStatement)
                assert error.orig.retryable
                self.retried += 1
            await self.pause()

    async def pause(self) -> None:
        self.done += 1
        await asyncio.sleep(0.005)

    async def until(self, more: int) -> None:
        """Until so much more was done, by all together."""
        wanted = self.done + more
        while self.going and self.done < wanted:
            await asyncio.sleep(0.01)

    async def run(self, change: Callable[[], Any]) -> None:
        """`change()` in the middle of it all. Raises what any of them met."""
        workers = [
            asyncio.ensure_future(work)
            for work in (
                self.reader("AUTOCOMMIT"),
                self.reader("AUTOCOMMIT"),
                self.reader(None),
                self.reader("REPEATABLE READ"),
                self.writer(1),
                self.writer(2),
                self.latecomer(),
            )
        ]
        for worker in workers:
            worker.add_done_callback(lambda _: setattr(self, "going", False))
        try:
            await self.until(200)
            if self.going:
                await change()
                await self.until(200)
        finally:
            self.going = False
            ends = await asyncio.gather(*workers, return_exceptions=True)
            await self.engine.dispose()
        assert ends == [None] * len(workers)


def test_beside_an_application(project: Project) -> None:
    """Statements that were prepared before a column came, or became another type: they
    fail in the middle of a transaction at most, once for a connection and a change."""
    project.alembic("upgrade", "0001")
    project.execute("insert into account (email) values ('ada@example.org')")
    traffic = Traffic(project.url)

    async def steps() -> None:
        for target in ("head", "0001", "head"):
            await asyncio.to_thread(project.alembic, *direction(target))
            await traffic.until(100)
        retype = "alter table account alter email type {}"
        for kind in ("text", "varchar(200)", "text"):
            await run_outside(project.dsn, retype.format(kind))
            await traffic.until(100)

    asyncio.run(asyncio.wait_for(traffic.run(steps), 2 * TIMEOUT_S))
    assert traffic.retried <= CHANGES * POOL


def direction(target: str) -> tuple[str, str]:
    return ("downgrade" if target == "0001" else "upgrade", target)
