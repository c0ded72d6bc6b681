"""The benchmark behind Benchmarks/run. Standard library only.

Every comparison runs in rounds: lifeboat, the stock tools, lifeboat, the stock tools, on the same server and the same
disk, after one round that is not counted. A ratio is taken within each round, and the median of the ratios is
reported, so that a machine that gets slower or faster meanwhile does not count for either side.
"""

import argparse
import json
import os
import platform
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import physical
import sources
import stores


class Failed(Exception):
    """A step that did not do what it is there for; there is no table then."""


class Server:
    """A throwaway PostgreSQL behind a socket."""

    SETTINGS = {
        "listen_addresses": "",
        "shared_buffers": "512MB",
        "maintenance_work_mem": "256MB",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "30min",
        # Its workers would run in some rounds and not in others.
        "autovacuum": "off",
    }

    def __init__(self, programs, directory, settings=None):
        self.programs = programs
        self.settings = {**self.SETTINGS, **(settings or {})}
        self.directory = directory
        self.socket = os.path.join(directory, "socket")
        self.password = secrets.token_hex(12)
        self.process = None
        self.as_user = []
        if os.geteuid() == 0:
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]

    def start(self):
        os.makedirs(self.socket)
        password_file = os.path.join(self.directory, "password")
        with open(password_file, "w", encoding="ascii") as file:
            file.write(self.password + "\n")
        if self.as_user:
            for path in (self.directory, self.socket, password_file):
                shutil.chown(path, "postgres", "postgres")
        data = os.path.join(self.directory, "data")
        quiet(self.as_user + [
            os.path.join(self.programs, "initdb"), "--pgdata", data, "--username=postgres", "--encoding=UTF8",
            "--locale=C.UTF-8", "--auth=scram-sha-256", "--pwfile", password_file])
        os.remove(password_file)
        command = self.as_user + [os.path.join(self.programs, "postgres"), "-D", data, "-k", self.socket]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        ready = [os.path.join(self.programs, "pg_isready"), "-q", "-h", self.socket]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"PostgreSQL did not start: {self.directory}/log")
            time.sleep(0.1)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    def environment(self):
        return {
            "PATH": self.programs + ":" + os.environ["PATH"], "LC_ALL": "C.UTF-8", "PGHOST": self.socket,
            "PGUSER": "postgres", "PGPASSWORD": self.password}

    def sql(self, *statements, database="postgres"):
        command = [os.path.join(self.programs, "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database]
        for statement in statements:
            command += ["-c", statement]
        return quiet(command, self.environment()).strip()


def quiet(command, environment=None):
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        check=False)
    if done.returncode != 0:
        raise Failed(f"{command[0]} exited with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout.decode()


class Run:
    """One finished process: seconds from its start to its end, and its largest resident memory in bytes.

    Where it is `watched`, `own_memory` is what the process itself had without its children, but for its last moment."""

    def __init__(self, command, environment, output, watched=False):
        with open(output, "wb") as out, open(output + ".err", "wb") as err, open(os.devnull, "rb") as nothing:
            begin = time.perf_counter()
            pid = os.posix_spawn(command[0], command, environment, file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0), (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, err.fileno(), 2)])
            self.own_memory = 0
            if watched:
                threading.Thread(target=self.watch, args=(pid,), daemon=True).start()
            # The kernel gives the largest of the process, the children it has waited for, and this program at the
            # moment of the start (20 MiB): never too little.
            _, status, usage = os.wait4(pid, 0)
            self.seconds = time.perf_counter() - begin
        self.exit_code = os.waitstatus_to_exitcode(status)
        self.memory = usage.ru_maxrss * 1024
        self.result = {}

    def watch(self, pid):
        """Follows the kernel's own mark of the highest, until the process is gone."""
        try:
            while True:
                with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
                    marks = [line for line in file if line.startswith("VmHWM:")]
                if not marks:
                    return
                self.own_memory = max(self.own_memory, int(marks[0].split()[1]) * 1024)
                time.sleep(0.05)
        except (FileNotFoundError, ProcessLookupError):
            return


class Bench:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.server = Server(options.postgres, os.path.join(directory, "postgres"))
        os.mkdir(self.server.directory)
        self.rows = []
        self.notes = []
        self.memory = {}
        self.stores = 0
        self.key = os.path.join(directory, "bench.key")
        self.age_recipient = ""
        self.dump_bytes = 0
        self.set_store = {}
        self.last_restore = {}

    # What the runs need

    def prepare(self):
        self.server.start()
        with open(self.key, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        if not set(self.options.only.split(",")) <= {"stores", "sources", "physical", "wal"}:
            self.prepare_clinic()

    def age_identity(self):
        """The recipient of a key that age has made for this run."""
        if not self.age_recipient:
            identity = os.path.join(self.directory, "age.key")
            quiet(["age-keygen", "-o", identity])
            self.age_recipient = quiet(["age-keygen", "-y", identity]).strip()
        return self.age_recipient

    def prepare_clinic(self):
        tell("Generating the clinic")
        self.age_identity()
        for name, patients in (("clinic", self.options.patients), ("clinic_small", self.options.patients // 10)):
            self.server.sql(f"CREATE DATABASE {name}")
            quiet([os.path.join(self.options.postgres, "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d", name,
                   "-v", f"patients={patients}", "-f", self.options.clinic], self.server.environment())
            self.server.sql("VACUUM ANALYZE", database=name)
        self.server.sql("CHECKPOINT")
        self.dump_bytes = int(self.shell_output("pg_dump -d clinic | wc -c"))
        if self.dump_bytes < 700_000_000:
            self.notes.append(
                f"The dump has {self.dump_bytes / 1e6:.0f} MB only; the targets are for 700 MB or more.")

    def shell_output(self, script):
        return quiet(["bash", "-o", "pipefail", "-c", script], self.server.environment())

    def new_store(self):
        self.stores += 1
        return os.path.join(self.directory, f"store-{self.stores}")

    def settle(self):
        """Leaves no dirty pages of the run before to the next one."""
        self.server.sql("CHECKPOINT")
        os.sync()

    def postgres_source(self, database):
        return {
            "POSTGRES_HOST": self.server.socket, "POSTGRES_DB": database, "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": self.server.password}

    def lifeboat(self, event, store, database="clinic", expected=0, source=None, watched=False):
        os.makedirs(store, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"], "BACKUP_STORE": f"file://{store}", "BACKUP_RECIPIENTS": f"aes:{self.key}",
            "BACKUP_EVENT": json.dumps(event)}
        environment.update(source or self.postgres_source(database))
        output = os.path.join(self.directory, "result.json")
        run = Run([self.options.lifeboat], environment, output, watched)
        with open(output, encoding="utf-8") as file:
            text = file.read()
        if run.exit_code != expected:
            with open(output + ".err", encoding="utf-8", errors="replace") as file:
                raise Failed(f"lifeboat exited with {run.exit_code}: {text}\n{file.read()[-4000:]}")
        run.result = json.loads(text)
        return run

    def stock(self, script):
        run = Run([shutil.which("bash"), "-o", "pipefail", "-c", script], self.server.environment(),
                  os.path.join(self.directory, "stock.out"))
        if run.exit_code != 0:
            with open(os.path.join(self.directory, "stock.out.err"), encoding="utf-8", errors="replace") as file:
                raise Failed(f"{script}: exit {run.exit_code}: {file.read()[-2000:]}")
        return run

    def note_memory(self, name, database, run):
        self.memory.setdefault(name, {}).setdefault(database, []).append(run.memory)

    def rounds(self, *contestants):
        """Runs the contestants in turn, once for warmth and then as often as asked; seconds of each."""
        seconds = [[] for _ in contestants]
        for number in range(self.options.runs + 1):
            for index, contestant in enumerate(contestants):
                self.settle()
                run = contestant()
                if number > 0:
                    seconds[index].append(run.seconds)
            tell(f"  round {number}: " + ", ".join(f"{s[-1]:.2f} s" if s else "warm-up" for s in seconds))
        return seconds

    def compare(self, what, against, ours, theirs, target):
        ratios = [a / b for a, b in zip(ours, theirs)]
        self.rows.append({
            "what": what, "ours": f"{statistics.median(ours):.2f} s",
            "against": f"{against}: {statistics.median(theirs):.2f} s",
            "measured": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            "target": f"≤ {target:.2f}" if target else "none",
            "met": statistics.median(ratios) <= target if target else None})

    # The measurements

    def backup_once(self, store=None, database="clinic"):
        keep = store is not None
        store = store or self.new_store()
        run = self.lifeboat({"action": "backup", "backupType": "manual"}, store, database)
        self.note_memory("backup", database, run)
        if keep:
            self.set_store[database] = (store, run.result["backupKey"])
        else:
            shutil.rmtree(store)
        return run

    def measure_backup(self):
        tell("Backup: lifeboat, pg_dump, pg_dump | zstd | age")
        target = os.path.join(self.directory, "dump.age")

        def age():
            run = self.stock(f"pg_dump -d clinic | zstd -q -1 -T2 | age -r {self.age_recipient} > '{target}'")
            os.remove(target)
            return run

        ours, plain, encrypted = self.rounds(
            self.backup_once, lambda: self.stock("pg_dump -d clinic > /dev/null"), age)
        self.compare("backup, default settings", "`pg_dump > /dev/null`", ours, plain, 1.15)
        self.compare(
            "backup, encrypted on both sides", "`pg_dump \\| zstd -1 -T2 \\| age -r … > file`", ours, encrypted, 0.9)

    def need_set(self, database="clinic"):
        if database not in self.set_store:
            self.backup_once(self.new_store(), database)
        return self.set_store[database]

    def need_dump(self):
        path = os.path.join(self.directory, "dump.sql.zst")
        if not os.path.exists(path):
            self.shell_output(f"pg_dump -d clinic | zstd -q -1 > '{path}'")
        return path

    def verify_once(self, recompute, database="clinic"):
        store, key = self.need_set(database)
        run = self.lifeboat(
            {"action": "verify", "backupKey": key, "recomputeContents": recompute}, store, database)
        if run.result["verdict"] != "proven":
            raise Failed(f"the verification did not prove the set: {run.result}")
        self.note_memory("verify, recomputed" if recompute else "verify", database, run)
        return run

    def measure_verify(self):
        tell("Verify: integrity, with contents recomputed, zstd -d and sha256sum")
        store, key = self.need_set()
        stored = self.shell_output(
            f"find '{store}/{key}' -name 'database.sql.zst*.encrypted' | sort | tr '\\n' ' '").strip()
        dump = self.need_dump()
        ours, recomputed, stock = self.rounds(
            lambda: self.verify_once(False), lambda: self.verify_once(True),
            lambda: self.stock(f"zstd -q -d -c '{dump}' > /dev/null && sha256sum {stored}"))
        against = "`zstd -d > /dev/null`, then `sha256sum`"
        self.compare("verify, integrity", against, ours, stock, 1.1)
        self.compare("verify, contents recomputed", against, recomputed, stock, 2.0)

    def restore_once(self, into, create, database="clinic"):
        store, key = self.need_set(database)
        event = {"action": "restore", "backupKey": key, "CONFIRM_RESTORE": "YES_I_WANT_TO_RESTORE",
                 "targetDatabase": into, "createDatabase": create}
        run = self.lifeboat(event, store, database)
        if run.result["verdict"] != "proven" or bool(run.result.get("safetyBackupKey")) == create:
            raise Failed(f"the restore is not what was asked for: {run.result}")
        self.note_memory("restore" if create else "restore with safety backup", database, run)
        self.last_restore = run.result
        return run

    def restore_new(self, database="clinic"):
        run = self.restore_once("restored", True, database)
        self.server.sql("DROP DATABASE restored")
        return run

    def measure_restore(self):
        tell("Restore: with proof, zstd -d | psql with pg_dump and ANALYZE, with safety backup and proof")
        dump = self.need_dump()
        self.server.sql("CREATE DATABASE standing TEMPLATE clinic")

        def stock():
            self.server.sql("CREATE DATABASE loaded TEMPLATE template0")
            run = self.stock(
                f"zstd -q -d -c '{dump}' | psql -Xq -v ON_ERROR_STOP=1 -d loaded && pg_dump -d loaded > /dev/null"
                " && psql -Xq -d loaded -c ANALYZE")
            self.server.sql("DROP DATABASE loaded")
            return run

        ours, theirs, whole = self.rounds(self.restore_new, stock, lambda: self.restore_once("standing", False))
        against = "`zstd -d \\| psql`, then `pg_dump > /dev/null`, then `ANALYZE`"
        self.compare("restore with proof, into a new database", against, ours, theirs, 1.3)
        self.compare("restore with proof and safety backup, in place", against, whole, theirs, None)
        phases = self.last_restore.get("phases") or {}
        self.notes.append("Seconds by phase of the last restore in place: " + ", ".join(
            f"{name} {milliseconds / 1000:.1f}" for name, milliseconds in phases.items()) + ".")

    def measure_memory(self):
        tell("Memory: the same jobs for a source ten times smaller")
        jobs = {
            "backup": lambda database: self.backup_once(database=database),
            "verify": lambda database: self.verify_once(False, database),
            "verify, recomputed": lambda database: self.verify_once(True, database),
            "restore": self.restore_new}
        for name, job in jobs.items():
            for database in ("clinic", "clinic_small"):
                while len(self.memory.get(name, {}).get(database, [])) < 3:
                    job(database)
            self.report_memory(name)
        self.memory_row("restore with safety backup")

    def memory_row(self, name):
        peaks = self.memory.get(name, {}).get("clinic")
        if peaks:
            self.rows.append({
                "what": f"peak memory, {name}", "ours": f"{max(peaks) / 2**20:.1f} MiB", "against": "",
                "measured": "", "target": "≤ 96 MiB", "met": max(peaks) <= 96 * 2**20})

    def report_memory(self, name):
        self.memory_row(name)
        large, small = (statistics.median(self.memory[name][d]) for d in ("clinic", "clinic_small"))
        self.rows.append({
            "what": f"memory, {name}: large against small source", "ours": f"{large / 2**20:.1f} MiB",
            "against": f"a tenth of the rows: {small / 2**20:.1f} MiB", "measured": f"{large / small:.2f}",
            "target": "0.90 to 1.10", "met": 0.9 <= large / small <= 1.1})

    def measure_refusal(self):
        tell("A refused event")
        store = self.new_store()
        seconds = [
            self.lifeboat({"backupType": "fortnightly"}, store, expected=2).seconds for _ in range(50)]
        median = statistics.median(seconds) * 1000
        self.rows.append({
            "what": "start to exit of a refused event", "ours": f"{median:.1f} ms", "against": "",
            "measured": f"{min(seconds) * 1000:.1f} to {max(seconds) * 1000:.1f} ms", "target": "≤ 30 ms",
            "met": median <= 30})

    def measure_sources(self):
        sources.SourceBench(self, tell, quiet, Failed).measure()

    def physical_bench(self):
        def server(directory, settings):
            return Server(self.options.postgres, directory, settings)

        return physical.PhysicalBench(self, server, tell, quiet, Failed)

    def measure_physical(self):
        self.physical_bench().measure()

    def measure_wal(self):
        self.physical_bench().measure_logs()

    def measure_stores(self):
        stores.StoreBench(self, tell, Failed).measure()

    # The table

    def report(self):
        lines = ["| what | lifeboat | compared with | ratio (spread) | target | met |", "|---|---|---|---|---|---|"]
        words = {True: "yes", False: "**no**", None: ""}
        for row in self.rows:
            lines.append("| {what} | {ours} | {against} | {measured} | {target} | {word} |".format(
                word=words[row["met"]], **row))
        missed = [row["what"] for row in self.rows if row["met"] is False]
        judged = [row for row in self.rows if row["met"] is not None]
        lines += ["", f"{len(judged) - len(missed)} of {len(judged)} targets met."
                  + (" Missed: " + "; ".join(missed) + "." if missed else ""), ""]
        lines += self.notes + self.facts()
        return "\n".join(lines) + "\n"

    def facts(self):
        version = quiet([self.options.lifeboat, "--version"]).strip()
        return [
            f"{time.strftime('%Y-%m-%d', time.gmtime())}, lifeboat {version}, {processor()},"
            f" {os.cpu_count()} cores, Linux {platform.release()}.",
            f"PostgreSQL {self.server.sql('SHOW server_version')}, fsync on, {self.dump_bytes / 1e6:.0f} MB of plain"
            f" dump ({self.options.patients} patients); median of {self.options.runs} alternating runs after a"
            f" warm-up ({self.options.store_runs} with buckets)."]


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def tell(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="Benchmarks/run")
    parser.add_argument("--lifeboat", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--postgres", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--clinic", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--patients", type=int, default=145_000, help="about 5.4 KB of dump each")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each contestant")
    parser.add_argument("--only", default="backup,verify,restore,memory,refusal,physical,sources,stores")
    parser.add_argument("--repository", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--store-benchmark", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--aws", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rclone", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--store-bytes", type=int, default=2**30, help="bytes that go up to a bucket and down")
    parser.add_argument("--mongod", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--mongo-python", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--tree-bytes", type=int, default=600_000_000, help="bytes of the files that are backed up")
    parser.add_argument("--wal-segments", type=int, default=200, help="segments that a WAL job is behind")
    parser.add_argument("--store-runs", type=int, default=5, help="counted rounds with each bucket")
    parser.add_argument("--sets", type=int, default=10_000, help="sets in the bucket that is listed")
    parser.add_argument("--directory", default="/var/tmp", help="where to work; needs some 25 GB")
    parser.add_argument("--output", help="a file for the table, beside standard output")
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = tempfile.mkdtemp(prefix="lifeboat-bench.", dir=options.directory)
    # The server's own user passes through.
    os.chmod(directory, 0o711)
    bench = Bench(options, directory)
    try:
        bench.prepare()
        for name in options.only.split(","):
            getattr(bench, f"measure_{name}")()
        report = bench.report()
        sys.stdout.write(report)
        if options.output:
            with open(options.output, "w", encoding="utf-8") as file:
                file.write(report)
        return 0
    except Failed as failure:
        tell(f"FAILED: {failure}")
        return 1
    finally:
        bench.server.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
