"""The part of the benchmark that measures the other kinds of source against their own dump tools.

Each server is a throwaway one behind a socket or on loopback. What the tools write goes to /dev/null, what lifeboat
writes is compressed, encrypted and stored; both read the same data from the same warm caches, in turn.
"""

import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import time

MIB = 2**20


class MariaDB:
    """A throwaway MariaDB behind a socket, whose root has no password."""

    def __init__(self, directory, quiet, failed):
        self.directory = os.path.join(directory, "mariadb")
        self.socket = os.path.join(self.directory, "socket")
        self.quiet = quiet
        self.failed = failed
        self.process = None

    def start(self):
        data = os.path.join(self.directory, "data")
        os.makedirs(data)
        user = []
        if os.geteuid() == 0:
            shutil.chown(self.directory, "mysql", "mysql")
            shutil.chown(data, "mysql", "mysql")
            user = ["--user=mysql"]
        self.quiet(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db",
                    "--auth-root-authentication-method=normal"] + user)
        command = [shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={data}",
                   f"--socket={self.socket}", "--skip-networking", "--innodb-buffer-pool-size=1G",
                   "--innodb-log-file-size=512M", f"--pid-file={self.directory}/pid"] + user
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while subprocess.run(["mariadb-admin", "--no-defaults", f"--socket={self.socket}", "-uroot", "ping"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise self.failed(f"MariaDB did not start: {self.directory}/log")
            time.sleep(0.1)

    def sql(self, statements, database=""):
        self.quiet(["mariadb", "--no-defaults", f"--socket={self.socket}", "-uroot", "-e", statements]
                   + ([database] if database else []))

    def fill(self, patients):
        """About 2.8 KB of dump a patient: text, JSON, a blob, and results of another table."""
        self.sql("CREATE DATABASE clinic CHARACTER SET utf8mb4")
        self.sql(f"""
            CREATE TABLE patients (id INT PRIMARY KEY, name VARCHAR(100), born DATE, notes TEXT, facts JSON,
                photo BLOB, KEY (name)) ENGINE=InnoDB;
            INSERT INTO patients SELECT seq, CONCAT('Müller ', SHA1(seq)), '1950-01-01' + INTERVAL seq % 20000 DAY,
                REPEAT(CONCAT('Übelkeit seit ', seq % 365, ' Tagen, ', MD5(seq % 1000), '. '), 24),
                JSON_OBJECT('allergies', MD5(seq % 50), 'weight', 40 + seq % 80),
                UNHEX(REPEAT(SHA2(seq, 256), 8)) FROM seq_1_to_{patients};
            CREATE TABLE results (id INT PRIMARY KEY AUTO_INCREMENT, patient INT, taken DATETIME, value DOUBLE,
                comment VARCHAR(200), KEY (patient)) ENGINE=InnoDB;
            INSERT INTO results (patient, taken, value, comment) SELECT 1 + seq % {patients},
                '2020-01-01' + INTERVAL seq MINUTE, seq / 7, CONCAT('Messung ', MD5(seq % 5000))
                FROM seq_1_to_{patients * 5};
            ANALYZE TABLE patients, results;""", "clinic")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


class MongoDB:
    """A throwaway mongod on loopback. `python` has pymongo."""

    FILL = """
import hashlib, pymongo, sys
patients = pymongo.MongoClient(sys.argv[1])["clinic"]["patients"]
patients.create_index("name")
count = int(sys.argv[2])
for begin in range(0, count, 1000):
    patients.insert_many([{
        "_id": n, "name": "M\\u00fcller " + hashlib.sha1(str(n).encode()).hexdigest(), "ward": n % 40,
        "notes": ("\\u00dcbelkeit seit %d Tagen, %s. " % (n % 365, hashlib.md5(str(n % 1000).encode()).hexdigest())) * 24,
        "results": [{"at": n + i, "value": n / 7 + i, "comment": "Messung %d" % i} for i in range(5)],
        "photo": hashlib.sha256(str(n).encode()).digest() * 8,
    } for n in range(begin, min(begin + 1000, count))], ordered=False)
"""

    def __init__(self, mongod, python, directory, quiet, failed):
        self.mongod = mongod
        self.python = python
        self.quiet = quiet
        self.directory = os.path.join(directory, "mongodb")
        self.failed = failed
        self.process = None
        self.port = 0

    def start(self):
        os.makedirs(self.directory)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [self.mongod, "--dbpath", self.directory, "--bind_ip", "127.0.0.1", "--port", str(self.port),
                 "--nounixsocket", "--wiredTigerCacheSizeGB", "0.5"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise self.failed(f"mongod did not start: {self.directory}/log")
            time.sleep(0.1)

    @property
    def uri(self):
        return f"mongodb://127.0.0.1:{self.port}/clinic"

    def fill(self, patients):
        self.quiet([self.python, "-c", self.FILL, self.uri, str(patients)])

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


def make_tree(root, size):
    """Files of a clinic's application: many small texts, some documents, a few large images. A third of the bytes
    compresses well, a third somewhat, a third not at all."""
    source = random.Random(20250115)
    words = [hashlib.md5(str(n).encode()).hexdigest()[:3 + n % 9] for n in range(2000)]

    def text(count):
        lines = []
        while count > 0:
            line = " ".join(source.choices(words, k=12)) + "\n"
            lines.append(line)
            count -= len(line)
        return "".join(lines).encode()

    sample = text(2 * MIB)
    small, medium, large = size // 3, size // 3, size // 3
    number = 0
    while small > 0:
        length = source.randrange(500, 30_000)
        begin = source.randrange(len(sample) - length)
        write(root, f"config/{number % 97}/{number}.conf", sample[begin:begin + length])
        small -= length
        number += 1
    while medium > 0:
        length = source.randrange(200_000, 1_500_000)
        body = bytearray(sample[:length])
        for offset in range(0, length, 64):
            body[offset:offset + 24] = source.randbytes(24)
        write(root, f"documents/{number % 31}/{number}.pdf", bytes(body[:length]))
        medium -= length
        number += 1
    while large > 0:
        length = min(large, 40 * MIB)
        write(root, f"images/{number}.dcm", source.randbytes(length))
        large -= length
        number += 1
    return number


def write(root, name, content):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


class SourceBench:
    def __init__(self, bench, tell, quiet, failed):
        self.bench = bench
        self.tell = tell
        self.quiet = quiet
        self.failed = failed
        self.directory = bench.directory

    def backup(self, name, environment):
        """One backup of `name` into a store of its own; the store is removed."""
        store = self.bench.new_store()
        run = self.bench.lifeboat({"action": "backup", "backupType": "manual"}, store, source=environment)
        self.bench.note_memory(f"backup, {name}", "clinic", run)
        shutil.rmtree(store)
        return run

    def measure_mysql(self):
        self.tell("MySQL: filling a database")
        server = MariaDB(self.directory, self.quiet, self.failed)
        server.start()
        try:
            server.fill(self.bench.options.patients * 2)
            environment = {
                "BACKUP_ENGINE": "mysql", "MYSQL_HOST": server.socket, "MYSQL_DB": "clinic", "MYSQL_USER": "root"}
            self.tell("MySQL: lifeboat, mariadb-dump")
            dump = (f"mariadb-dump --no-defaults --socket='{server.socket}' -uroot --single-transaction --routines"
                    " --triggers --events --hex-blob --default-character-set=utf8mb4 clinic > /dev/null")
            ours, theirs = self.bench.rounds(
                lambda: self.backup("mysql", environment), lambda: self.bench.stock(dump))
            self.bench.compare("backup, mysql", "`mariadb-dump > /dev/null`", ours, theirs, 1.15)
            self.bench.memory_row("backup, mysql")
        finally:
            server.stop()

    def measure_mongodb(self):
        self.tell("MongoDB: filling a database")
        options = self.bench.options
        server = MongoDB(options.mongod, options.mongo_python, self.directory, self.quiet, self.failed)
        tools = os.path.join(options.repository, "Tests", "MongoDBEngineTests", "StandIn")
        server.start()
        try:
            server.fill(options.patients * 2)
            environment = {"BACKUP_ENGINE": "mongodb", "MONGODB_URL": server.uri, "MONGODB_BIN": tools}
            self.tell("MongoDB: lifeboat, the stand-in for mongodump")
            configuration = os.path.join(self.directory, "mongodump.yaml")
            with open(configuration, "w", encoding="ascii") as file:
                file.write(f'uri: "{server.uri}"\n')
            dump = f"'{tools}/mongodump' --config='{configuration}' --db=clinic --archive > /dev/null"
            ours, theirs = self.bench.rounds(
                lambda: self.backup("mongodb", environment), lambda: self.bench.stock(dump))
            self.bench.compare("backup, mongodb", "the stand-in for `mongodump > /dev/null`", ours, theirs, 1.15)
            self.bench.memory_row("backup, mongodb")
        finally:
            server.stop()

    def measure_audit(self):
        self.tell("Audit records: filling a table")
        records = self.bench.options.patients * 5
        self.bench.server.sql("CREATE DATABASE audit")
        self.bench.server.sql(
            "CREATE TABLE trail (id bigint PRIMARY KEY, at timestamptz, actor text, action text, facts jsonb)",
            "INSERT INTO trail SELECT n, '2025-01-15'::timestamptz + n * interval '1 s', 'nurse ' || n % 300,"
            " 'read', jsonb_build_object('patient', md5(n::text), 'ward', n % 40, 'reason', md5((n % 50)::text))"
            f" FROM generate_series(1, {records}) n", "VACUUM ANALYZE trail", database="audit")
        environment = dict(
            self.bench.postgres_source("audit"), BACKUP_ENGINE="audit-records", AUDIT_SOURCE="postgres",
            AUDIT_TABLE="public.trail", AUDIT_BACKUP_KEY=f"aes:{self.bench.key}")
        copy = ("psql -X -d audit -c 'COPY (SELECT row_to_json(t) FROM public.trail t ORDER BY id) TO STDOUT'"
                " > /dev/null")
        packed = copy.replace("> /dev/null", "| gzip -6 > /dev/null")
        self.tell("Audit records: lifeboat, psql, psql | gzip")
        ours, theirs, gzip = self.bench.rounds(
            lambda: self.backup("audit-records", environment), lambda: self.bench.stock(copy),
            lambda: self.bench.stock(packed))
        self.bench.compare(
            f"backup, audit-records, {records} of them, read back", "`psql -c 'COPY … row_to_json' > /dev/null`", ours,
            theirs, 1.15)
        self.bench.compare(
            "the same, packed on both sides", "`psql -c 'COPY … row_to_json' \\| gzip -6 > /dev/null`", ours, gzip, None)
        self.bench.memory_row("backup, audit-records")

    def measure_files(self):
        self.tell("Files: making a tree")
        tree = os.path.join(self.directory, "tree")
        # In a process of its own: what is held here would count as the memory of all that is started later.
        with multiprocessing.get_context("fork").Pool(1) as pool:
            count = pool.apply(make_tree, (tree, self.bench.options.tree_bytes))
        self.bench.notes.append(
            f"The tree has {self.bench.options.tree_bytes / 1e6:.0f} MB in {count} files, all in the page cache.")
        environment = {"BACKUP_ENGINE": "files", "FILES_PATHS": tree}
        recipient = self.bench.age_identity()
        repository = os.path.join(self.directory, "restic")
        target = os.path.join(self.directory, "tree.age")

        def age():
            run = self.bench.stock(
                f"tar -C '{self.directory}' -cf - tree | zstd -q -1 -T2 | age -r {recipient} > '{target}'")
            os.remove(target)
            return run

        def restic():
            # Each round is a first backup: the repository is a new one.
            shutil.rmtree(repository, ignore_errors=True)
            self.bench.stock(f"RESTIC_PASSWORD=x restic -q init -r '{repository}' --no-cache")
            return self.bench.stock(f"RESTIC_PASSWORD=x restic -q backup -r '{repository}' --no-cache '{tree}'")

        self.tell("Files: lifeboat, tar, tar | zstd | age, restic")
        ours, plain, encrypted, first = self.bench.rounds(
            lambda: self.backup("files", environment),
            # Straight to /dev/null tar reads nothing.
            lambda: self.bench.stock(f"tar -C '{self.directory}' -cf - tree | cat > /dev/null"), age, restic)
        self.bench.compare("backup, files", "`tar \\| cat > /dev/null`", ours, plain, 1.15)
        self.bench.compare(
            "backup, files, encrypted on both sides", "`tar \\| zstd -1 -T2 \\| age -r … > file`", ours, encrypted, 1.0)
        self.bench.compare("first backup, files", "`restic backup` into a new repository", ours, first, 0.5)
        self.bench.memory_row("backup, files")
        shutil.rmtree(repository, ignore_errors=True)

    def measure(self):
        self.measure_files()
        self.measure_mysql()
        self.measure_mongodb()
        self.measure_audit()
