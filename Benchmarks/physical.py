"""The part of the benchmark that measures physical backups and the write-ahead log against pgBackRest and PostgreSQL's
own tools.

The cluster is a throwaway one of its own, whose log is archived: pgBackRest needs that, and gets it while it runs. Both
sides compress with zstd at level 1, encrypt with AES-256, and write to the same disk.
"""

import os
import secrets
import shlex
import shutil
import statistics
import time

# What pgBackRest is told beside its paths: its options for as little waiting as it allows.
PGBACKREST = """
[global]
repo1-path={directory}/repository
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass={passphrase}
compress-type=zst
compress-level=1
process-max=2
start-fast=y
expire-auto=n
log-level-console=warn
log-level-file=off
lock-path={directory}/lock
spool-path={directory}/spool

[bench]
pg1-path={data}
pg1-socket-path={socket}
pg1-user=postgres
"""

# Rows of the clinic, written again and again until the log has grown by so many bytes.
FILL_LOG = """
DO $$
DECLARE target pg_lsn := pg_current_wal_lsn() + {bytes};
BEGIN
    WHILE pg_current_wal_lsn() < target LOOP
        CREATE TABLE filler AS SELECT * FROM {table} LIMIT {rows};
        DROP TABLE filler;
        COMMIT;
    END LOOP;
END $$
"""


class PhysicalBench:
    def __init__(self, bench, make_server, tell, quiet, failed):
        self.bench = bench
        self.tell = tell
        self.quiet = quiet
        self.failed = failed
        self.directory = os.path.join(bench.directory, "physical")
        os.mkdir(self.directory)
        # PostgreSQL's user passes through, and pgBackRest works below.
        os.chmod(self.directory, 0o755)
        place = os.path.join(self.directory, "postgres")
        os.mkdir(place)
        self.server = make_server(place, {"archive_mode": "on"})
        self.data = os.path.join(place, "data")
        self.tools = os.path.join(self.directory, "pgbackrest")
        self.places = 0
        self.bytes = 0

    # What the runs need

    def prepare(self):
        self.server.start()
        self.archive("/bin/true")
        self.tell("Physical: generating the clinic")
        self.server.sql("CREATE DATABASE clinic")
        self.quiet([os.path.join(self.bench.options.postgres, "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "clinic",
                    "-v", f"patients={self.bench.options.patients}", "-f", self.bench.options.clinic],
                   self.server.environment())
        self.server.sql("VACUUM ANALYZE", database="clinic")
        self.server.sql("CHECKPOINT")
        self.bytes = int(self.server.sql("SELECT sum(pg_database_size(oid)) FROM pg_database"))
        self.bench.notes.append(f"The cluster has {self.bytes / 1e6:.0f} MB of databases.")
        if self.bytes < 800_000_000:
            self.bench.notes.append("The targets of the physical rows are for 800 MB or more.")

    def archive(self, command):
        """What the server archives its log with from now on."""
        self.server.sql(f"ALTER SYSTEM SET archive_command = '{command}'")
        self.server.sql("SELECT pg_reload_conf()")
        # The archiver reads it when it gets round to it, and does not say so.
        time.sleep(0.5)

    def prepare_pgbackrest(self):
        for name in ("", "repository", "lock", "spool"):
            os.makedirs(os.path.join(self.tools, name), exist_ok=True)
        path = os.path.join(self.tools, "pgbackrest.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(PGBACKREST.format(
                directory=self.tools, passphrase=secrets.token_hex(16), data=self.data, socket=self.server.socket))
        os.chmod(path, 0o600)
        if self.server.as_user:
            for name in ("", "repository", "lock", "spool", "pgbackrest.conf"):
                shutil.chown(os.path.join(self.tools, name), "postgres", "postgres")
        self.quiet(self.server.as_user + self.pgbackrest() + ["stanza-create"], self.server.environment())
        version = self.quiet(["pgbackrest", "version"]).strip()
        self.bench.notes.append(f"{version}: full backups, process-max 2, compared with its own restore.")

    def pgbackrest(self):
        return ["pgbackrest", f"--config={self.tools}/pgbackrest.conf", "--stanza=bench"]

    def pgbackrest_run(self, *arguments):
        """One timed run, as the user who owns the cluster."""
        return self.bench.stock(shlex.join(self.server.as_user + self.pgbackrest() + list(arguments)))

    def new_place(self):
        """An empty directory that a cluster may be restored to."""
        self.places += 1
        path = os.path.join(self.directory, f"restored-{self.places}")
        os.mkdir(path)
        os.chmod(path, 0o700)
        if self.server.as_user:
            shutil.chown(path, "postgres", "postgres")
        return path

    def lifeboat(self, event, store, name):
        source = dict(
            self.bench.postgres_source("postgres"), BACKUP_METHOD="physical", BACKUP_WAL_SLOT="lifeboat_bench",
            POSTGRES_BIN=self.bench.options.postgres)
        run = self.bench.lifeboat(event, store, source=source, watched=True)
        # Its own memory: a restore starts a server, which has as much as it is told to have.
        run.memory = run.own_memory
        self.bench.note_memory(name, "clinic", run)
        return run

    # Backup and restore

    def backup(self, store):
        return self.lifeboat({"action": "backup", "backupType": "manual"}, store, "backup, physical")

    def backup_and_remove(self):
        store = self.bench.new_store()
        run = self.backup(store)
        shutil.rmtree(store)
        return run

    def pgbackrest_backup(self):
        # What was archived before went nowhere; from here on it does, for a backup is not whole without it.
        self.archive(shlex.join(self.pgbackrest() + ["archive-push"]) + ' "%p"')
        run = self.pgbackrest_run("--type=full", "backup")
        self.archive("/bin/true")
        return run

    def measure_backup(self):
        self.tell("Physical backup: lifeboat, pgBackRest, pg_basebackup")
        ours, theirs, stock = self.bench.rounds(
            self.backup_and_remove, self.pgbackrest_backup,
            lambda: self.bench.stock("pg_basebackup -c fast -Ft -X fetch -D - > /dev/null"))
        self.bench.compare("physical backup", "`pgbackrest --type=full backup`", ours, theirs, 0.6)
        self.bench.compare(
            "physical backup", "`pg_basebackup -Ft -X fetch -D - > /dev/null`", ours, stock, 1.15)
        self.bench.memory_row("backup, physical")

    def measure_restore(self):
        self.tell("Physical restore: lifeboat, pgBackRest")
        store = self.bench.new_store()
        key = self.backup(store).result["backupKey"]

        def restore():
            place = self.new_place()
            run = self.lifeboat(
                {"action": "restore", "backupKey": key, "CONFIRM_RESTORE": "YES_I_WANT_TO_RESTORE",
                 "targetDatabase": place}, store, "restore, physical")
            self.demand_cluster(os.path.join(place, "data"))
            shutil.rmtree(place)
            return run

        def pgbackrest():
            place = self.new_place()
            run = self.pgbackrest_run(f"--pg1-path={place}", "--type=immediate", "restore")
            self.demand_cluster(place)
            shutil.rmtree(place)
            return run

        ours, theirs = self.bench.rounds(restore, pgbackrest)
        self.bench.compare(
            "physical restore, to a directory that can be started", "`pgbackrest restore`", ours, theirs, 0.6)
        self.bench.memory_row("restore, physical")
        self.bench.notes.append(
            "Lifeboat's restore ends when a server has recovered the directory and was shut down; pgBackRest's, before"
            " a server has been started.")
        shutil.rmtree(store)

    def demand_cluster(self, place):
        if not os.path.exists(os.path.join(place, "global", "pg_control")):
            raise self.failed(f"there is no cluster in {place}")

    # The log

    def wal(self, store, name):
        return self.lifeboat({"action": "wal"}, store, name)

    def measure_idle_log(self):
        self.tell("The log: nothing to do")
        store = self.bench.new_store()
        for _ in range(2):
            self.wal(store, "wal, nothing to do")
        seconds = [self.wal(store, "wal, nothing to do").seconds for _ in range(10)]
        median = statistics.median(seconds)
        self.bench.rows.append({
            "what": "WAL job with nothing to do", "ours": f"{median:.2f} s", "against": "",
            "measured": f"{min(seconds):.2f} to {max(seconds):.2f} s", "target": "≤ 0.50 s", "met": median <= 0.5})
        self.bench.memory_row("wal, nothing to do")
        self.server.sql("SELECT pg_drop_replication_slot('lifeboat_bench')")
        shutil.rmtree(store)

    def segments(self):
        """The whole segments from the kept slot's on, as the server names them."""
        first, current = (self.server.sql(f"SELECT pg_walfile_name({place})") for place in (
            "(SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'kept')", "pg_current_wal_insert_lsn()"))
        names = sorted(name for name in os.listdir(os.path.join(self.data, "pg_wal")) if len(name) == 24)
        return [name for name in names if first <= name < current]

    def measure_log(self):
        count = self.bench.options.wal_segments
        self.tell(f"The log: writing {count} segments")
        # Jobs let go of what they have stored. This slot keeps all of it, and each run begins with a copy of it.
        # It begins at the last checkpoint.
        self.server.sql("CHECKPOINT", "SELECT pg_create_physical_replication_slot('kept', true)")
        size = int(self.server.sql(
            "SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'"))
        table = self.server.sql(
            "SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace NOT IN"
            " ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
            " ORDER BY pg_relation_size(oid) DESC LIMIT 1", database="clinic")
        self.server.sql(FILL_LOG.format(bytes=(count + 1) * size, table=table, rows=20_000), database="clinic")
        self.server.sql("SELECT pg_switch_wal()")
        if len(self.segments()) < count:
            raise self.failed(f"there are {len(self.segments())} segments in place of {count}")
        copies = os.path.join(self.directory, "copies")

        def lifeboat():
            self.server.sql(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE slot_name = 'lifeboat_bench'",
                "SELECT pg_copy_physical_replication_slot('kept', 'lifeboat_bench')")
            wanted = len(self.segments())
            store = self.bench.new_store()
            run = self.wal(store, f"wal, {count} segments")
            found = sum(
                name.endswith(".zst.encrypted") and ".partial." not in name
                for _, _, names in os.walk(os.path.join(store, "wal")) for name in names)
            if found < wanted:
                raise self.failed(f"{found} of {wanted} segments were stored: {run.result}")
            shutil.rmtree(store)
            return run

        def zstd():
            os.mkdir(copies)
            listed = os.path.join(self.directory, "segments")
            with open(listed, "w", encoding="ascii") as file:
                file.writelines(os.path.join(self.data, "pg_wal", name) + "\n" for name in self.segments())
            run = self.bench.stock(f"zstd -q -1 --output-dir-flat '{copies}' --filelist '{listed}'")
            shutil.rmtree(copies)
            return run

        self.tell(f"The log: lifeboat, zstd -1, {count} segments")
        ours, theirs = self.bench.rounds(lifeboat, zstd)
        self.bench.compare(f"WAL job, {count} segments behind", "`zstd -1` of the same files", ours, theirs, 1.2)
        self.bench.memory_row(f"wal, {count} segments")

    def measure(self):
        self.measured(
            self.prepare_pgbackrest, self.measure_backup, self.measure_restore, self.measure_idle_log, self.measure_log)

    def measure_logs(self):
        """The rows of the log alone, which need no pgBackRest."""
        self.measured(self.measure_idle_log, self.measure_log)

    def measured(self, *steps):
        other = self.bench.server
        self.bench.server = self.server
        try:
            self.prepare()
            for step in steps:
                step()
        finally:
            self.server.stop()
            self.bench.server = other
