"""A stand-in for mongodump and mongorestore, for tests only.

The real tools can be had neither from Debian nor from PyPI. This program has their names, the options that the engine
uses and their archive format (common/archive/spec.md of mongo-tools), talks to a real mongod through pymongo, and has
the real tools' bad habits, all of them seen with version 100.11.0:

- after SIGTERM, or when the server goes away, mongodump writes the end marks and right checksums over what it has, and
  exits 1;
- mongodump of a database that does not exist exits 0;
- mongorestore exits 0 although documents failed, and checks an archive's checksums and end only after it has inserted;
- serverSelectionTimeoutMS in the connection string makes both hang for many minutes;
- one SIGTERM is ignored while connecting.

MONGO_STAND_IN_TRAP asks for more, comma-separated: see TRAPS.
"""

import ctypes
import os
import signal
import struct
import sys
import time

import bson
from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from bson.son import SON
import pymongo
from pymongo.errors import BulkWriteError, ConfigurationError, OperationFailure, PyMongoError

VERSION = "100.11.0"
MAGIC = struct.pack("<I", 0x8199E26D)
TERMINATOR = b"\xff\xff\xff\xff"
BATCH_BYTES = 8 << 20

TRAPS = {
    "die-late": "mongodump behaves as after SIGTERM once it has written some of it",
    "exit-1": "mongodump writes a whole archive and exits 1",
    "truncate": "mongodump leaves out the last 20 bytes and exits 0",
    "killed": "mongodump kills itself with SIGKILL once it has written some of it",
    "slow-connect": "the tool takes a minute to connect, and ignores the first SIGTERM meanwhile",
    "lose-one": "mongorestore fails one document, says so, and exits 0",
    "hide-one": "mongorestore leaves out one document and says that all is well",
    "fail-in-place": "mongorestore with --drop exits 1 half-way, the first time",
    "fail-in-place-always": "mongorestore with --drop exits 1 half-way, every time",
    "wait-in-place": "mongorestore with --drop stops half-way, the first time, and waits to be ended",
    "write-first": "mongodump makes changes of every kind to the first database before it reads the last collection",
    "no-summary": "mongorestore does not say how many documents it restored",
}

lzma = ctypes.CDLL("liblzma.so.5")
lzma.lzma_crc64.restype = ctypes.c_uint64
lzma.lzma_crc64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]

stopped = False
traps = set(filter(None, os.environ.get("MONGO_STAND_IN_TRAP", "").split(",")))
marker = os.environ.get("MONGO_STAND_IN_MARKER", "")


def log(text):
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000+0000", time.gmtime())
    print(f"{now}\t{text}", file=sys.stderr, flush=True)


def fail(text):
    log(f"Failed: {text} {marker}".rstrip())
    sys.exit(1)


def crc64(data, value):
    return lzma.lzma_crc64(bytes(data), len(data), value)


def signed(value):
    return bson.Int64(value - (1 << 64) if value >> 63 else value)


# Options


class Options:
    VALUES = {"config", "db", "serverSelectionTimeout", "numParallelCollections", "nsInclude", "nsFrom", "nsTo"}
    FLAGS = {"archive", "oplog", "drop", "bypassDocumentValidation", "dryRun", "oplogReplay", "version"}
    LISTS = {"nsInclude", "nsFrom", "nsTo"}

    def __init__(self, arguments):
        self.values = {name: [] for name in self.LISTS}
        for argument in arguments:
            name, _, value = argument.removeprefix("--").partition("=")
            if not argument.startswith("--") or name not in self.VALUES | self.FLAGS:
                log(f"error parsing command line options: unknown option \"{name}\"")
                sys.exit(1)
            if name in self.LISTS:
                self.values[name].append(value)
            else:
                self.values[name] = value or True

    def __getattr__(self, name):
        return self.values.get(name)


def connection_string(options):
    with open(options.config, encoding="utf-8") as file:
        for line in file:
            if line.startswith("uri: "):
                return json_util.loads(line.removeprefix("uri: "))
    fail("no uri in the configuration file")


def connect(options, tool):
    uri = connection_string(options)
    if "serverselectiontimeoutms" in uri.lower():
        time.sleep(20 * 60)
    if "slow-connect" in traps:
        connect_slowly()
    seconds = int(options.serverSelectionTimeout or 30)
    try:
        client = pymongo.MongoClient(
            uri, serverSelectionTimeoutMS=seconds * 1000, appname=tool, document_class=SON, retryWrites=False)
        client.admin.command("ping")
        return client
    except OperationFailure as error:
        fail(f"can't create session: connection() error occurred during connection handshake: auth error: "
             f"({error.details.get('codeName', '')}) {error}")
    except (PyMongoError, ConfigurationError) as error:
        fail(f"can't create session: failed to connect: server selection error: {error}")


def connect_slowly():
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append(1) if not heard else sys.exit(1))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.1)
    signal.signal(signal.SIGTERM, on_signal)


def on_signal(*_):
    global stopped
    stopped = True


# mongodump


class Dump:
    def __init__(self, options):
        self.options = options
        self.out = sys.stdout.buffer
        self.client = None
        self.written = 0

    def emit(self, data):
        try:
            if "truncate" in traps:
                self.held = getattr(self, "held", b"") + data
                data, self.held = self.held[:-20], self.held[-20:]
            self.out.write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            fail("archive writer: broken pipe")

    def databases(self):
        if self.options.db:
            return [self.options.db]
        return [name for name in self.client.list_database_names() if name not in ("local", "config")]

    def collections(self):
        for database in self.databases():
            for info in self.client[database].list_collections():
                name = info["name"]
                system = name.startswith("system.") and name != "system.js"
                if (database != "admin" and system) or (database == "admin" and name == "system.keys"):
                    continue
                yield Collection(self.client, database, info)

    def run(self):
        if self.options.oplog and self.options.db:
            fail("bad option: --oplog mode only supported on full dumps")
        self.client = connect(self.options, "mongodump")
        collections = list(self.collections())
        self.prelude(collections)
        start = self.newest_oplog() if self.options.oplog else None
        whole = True
        try:
            whole = self.bodies(collections)
            if whole and start:
                self.oplog(start)
        except PyMongoError as error:
            for collection in collections:
                self.close(collection)
            self.out.flush()
            fail(f"error writing data: {error}")
        if not whole:
            self.out.flush()
            log("received signal 'terminated'; shutting down")
            fail("received termination signal")
        self.out.flush()
        if "exit-1" in traps:
            fail("error at the very end")

    def prelude(self, collections):
        version = self.client.server_info()["version"]
        header = {"concurrent_collections": 4, "version": "0.1", "server_version": version, "tool_version": VERSION}
        self.emit(MAGIC + bson.encode(header))
        for collection in collections:
            self.emit(bson.encode(collection.declaration()))
        if self.options.oplog:
            self.emit(bson.encode(SON([("db", ""), ("collection", "oplog"), ("metadata", ""), ("size", 0),
                                       ("type", "")])))
        self.emit(TERMINATOR)

    def bodies(self, collections):
        """Reads four at a time, a batch of each in turn. False where it was told to end."""
        waiting = list(collections)
        active = []
        blocks = 0
        while waiting or active:
            while waiting and len(active) < 4:
                if len(waiting) == 1 and "write-first" in traps:
                    make_changes(self.client, self.client[self.options.db or "clinic"])
                active.append(waiting.pop(0))
            for collection in list(active):
                if stopped or ("die-late" in traps and blocks >= 2):
                    for rest in active + waiting:
                        self.close(rest)
                    return False
                if "killed" in traps and blocks >= 2:
                    self.out.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                batch = collection.next_batch()
                if batch is None:
                    self.close(collection)
                    active.remove(collection)
                else:
                    blocks += 1
                    self.block(collection, batch)
        return True

    def block(self, collection, data):
        collection.crc = crc64(data, collection.crc)
        self.emit(collection.header(False, 0) + data + TERMINATOR)

    def close(self, collection):
        if not collection.closed:
            collection.closed = True
            self.emit(collection.header(True, collection.crc) + TERMINATOR)

    def newest_oplog(self):
        entry = self.client.local["oplog.rs"].find_one(sort=[("$natural", -1)])
        if entry is None:
            fail("error finding oplog: no oplog")
        return entry["ts"]

    def oplog(self, start):
        end = self.newest_oplog()
        oplog = Oplog()
        entries = self.client.local["oplog.rs"].find_raw_batches({"ts": {"$gte": start, "$lte": end}})
        for batch in entries:
            if batch:
                self.block(oplog, batch)
        self.close(oplog)


def make_changes(client, database):
    """What applications do meanwhile. Needs a replica set, for the transaction."""
    database["written_meanwhile"].insert_one({"_id": 1})
    database.patients.update_one({"_id": 1}, {"$set": {"ward": 50}, "$unset": {"note": 1}})
    database.patients.delete_one({"_id": 2})
    database.patients.create_index([("weight", 1)], name="meanwhile")
    database["written_meanwhile"].create_index([("x", -1)])
    database["empty"].drop()
    database.create_collection("view_meanwhile", viewOn="patients", pipeline=[{"$match": {"ward": 1}}])
    with client.start_session() as session, session.start_transaction():
        database.patients.insert_one({"_id": 5000, "name": "in a transaction"}, session=session)
        database["written_meanwhile"].insert_one({"_id": 2}, session=session)


class Stream:
    """What has blocks of its own."""

    def __init__(self, database, name):
        self.database = database
        self.data_name = name
        self.crc = 0
        self.closed = False

    def header(self, is_end, crc):
        return bson.encode(SON([("db", self.database), ("collection", self.data_name), ("EOF", is_end),
                                ("CRC", signed(crc))]))


class Oplog(Stream):
    def __init__(self):
        super().__init__("", "oplog")


class Collection(Stream):
    def __init__(self, client, database, info):
        self.info = info
        self.name = info["name"]
        self.type = info.get("type", "collection")
        super().__init__(database, "system.buckets." + self.name if self.type == "timeseries" else self.name)
        self.collection = client[database][self.name]
        self.data = client[database][self.data_name]
        self.batches = None
        self.size = 0 if self.type != "collection" else self.data.estimated_document_count()

    def declaration(self):
        indexes = [] if self.type == "view" else list(self.collection.list_indexes())
        uuid = self.info.get("info", {}).get("uuid")
        metadata = SON([("indexes", indexes), ("uuid", uuid.hex() if uuid else ""), ("collectionName", self.name),
                        ("type", self.type)])
        if self.info.get("options"):
            metadata["options"] = self.info["options"]
        text = json_util.dumps(metadata, json_options=json_util.CANONICAL_JSON_OPTIONS)
        return SON([("db", self.database), ("collection", self.name), ("metadata", text), ("size", self.size),
                    ("type", "" if self.type == "collection" else self.type)])

    def next_batch(self):
        if self.type == "view":
            return None
        if self.batches is None:
            self.batches = self.data.find_raw_batches({}, batch_size=1000)
        for batch in self.batches:
            if batch:
                return batch
        return None


# mongorestore


class ArchiveProblem(Exception):
    pass


class Restore:
    def __init__(self, options):
        self.options = options
        self.input = sys.stdin.buffer
        self.client = None
        self.declared = {}
        self.crcs = {}
        self.open = {}
        self.restored = 0
        self.failed = 0
        self.seen = 0

    def take(self, count):
        data = self.input.read(count)
        if len(data) != count:
            raise ArchiveProblem("unexpected EOF")
        return data

    def document(self):
        """The next document's bytes; None at the end of a list."""
        size = self.take(4)
        if size == TERMINATOR:
            return None
        return size + self.take(struct.unpack("<i", size)[0] - 4)

    def target(self, database, collection):
        """Where a collection goes; None where it is not asked for."""
        full = f"{database}.{collection}"
        includes = self.options.nsInclude
        if includes and not any(matches(pattern, full) for pattern in includes):
            return None
        for source, target in zip(self.options.nsFrom, self.options.nsTo):
            if matches(source, full):
                return unescape(target.removesuffix(".*")), collection
        return database, collection

    def run(self):
        if self.options.oplogReplay and (self.options.nsFrom or self.options.nsInclude):
            fail("cannot use --oplogReplay with namespace renames specified")
        self.client = connect(self.options, "mongorestore")
        try:
            self.read_prelude()
            if self.options.dryRun:
                log("dry run completed")
                sys.exit(0)
            for declared in self.declared.values():
                if declared.place:
                    self.create(declared)
            self.read_blocks()
        except ArchiveProblem as error:
            self.summary()
            fail(f"archive parser: {error}")
        except PyMongoError as error:
            self.summary()
            fail(f"error restoring: {error}")
        self.indexes()
        self.summary()

    def summary(self):
        if "no-summary" not in traps:
            log(f"{self.restored} document(s) restored successfully. {self.failed} document(s) failed to restore.")

    def read_prelude(self):
        if self.take(4) != MAGIC:
            raise ArchiveProblem("stream or file does not appear to be a mongodump archive")
        self.document()
        while (data := self.document()) is not None:
            declared = Declared(bson.decode(data, CodecOptions(document_class=SON)), self)
            self.declared[(declared.database, declared.data_name)] = declared

    def create(self, declared):
        database, name = declared.place
        exists = name in self.client[database].list_collection_names(filter={"name": name})
        if exists and self.options.drop and name.startswith("system."):
            log(f"cannot drop system collection {database}.{name}, skipping")
        elif exists and self.options.drop:
            self.client[database].drop_collection(name)
            exists = False
        if not exists:
            command = SON([("create", name)])
            command.update(declared.options)
            identity = [index for index in declared.indexes if index["name"] == "_id_"]
            if identity and declared.type != "timeseries" and "clusteredIndex" not in command:
                command["idIndex"] = SON((key, value) for key, value in identity[0].items() if key != "ns")
            self.client[database].command(command)

    def read_blocks(self):
        while True:
            first = self.input.read(4)
            if not first:
                break
            if len(first) < 4 or first == TERMINATOR:
                raise ArchiveProblem("corruption found in archive")
            size = struct.unpack("<i", first)[0]
            header = bson.decode(first + self.take(size - 4))
            name = (header["db"], header["collection"])
            declared = self.declared.get(name)
            crc = self.crcs.get(name, 0)
            batch, batch_size = [], 0
            while (data := self.document()) is not None:
                crc = crc64(data, crc)
                if declared and declared.place:
                    batch.append(data)
                    batch_size += len(data)
                    if batch_size >= BATCH_BYTES:
                        self.insert(declared, batch)
                        batch, batch_size = [], 0
            self.insert(declared, batch)
            self.crcs[name] = crc
            if header["EOF"]:
                if header["CRC"] != signed(crc):
                    raise ArchiveProblem(f"CRC mismatch for namespace {name[0]}.{name[1]}")
                self.open.pop(name, None)
            else:
                self.open[name] = True
        if self.open:
            raise ArchiveProblem("archive finished but contained files were unfinished")

    def insert(self, declared, batch):
        if not batch:
            return
        documents = [RawBSONDocument(data) for data in batch]
        self.spring_traps(documents)
        database, _ = declared.place
        collection = self.client[database].get_collection(
            declared.data_name, write_concern=pymongo.WriteConcern("majority"))
        try:
            collection.insert_many(documents, ordered=False, bypass_document_validation=True)
            self.restored += len(documents)
        except BulkWriteError as error:
            errors = len(error.details["writeErrors"])
            for detail in error.details["writeErrors"][:3]:
                log(f"continuing through error: {detail['errmsg']} {marker}")
            self.failed += errors
            self.restored += len(documents) - errors

    def spring_traps(self, documents):
        self.seen += 1
        if self.options.drop and self.seen == 1:
            once = os.environ.get("MONGO_STAND_IN_ONCE", "")
            if "fail-in-place-always" in traps or ("fail-in-place" in traps and not os.path.exists(once)):
                if once:
                    open(once, "w").close()
                self.summary()
                fail("error restoring: E11000 duplicate key error collection: dup key")
            if "wait-in-place" in traps and not os.path.exists(once):
                open(once, "w").close()
                time.sleep(600)
        if len(documents) > 1 and traps & {"lose-one", "hide-one"}:
            documents.pop()
            self.failed += 1 if "lose-one" in traps else 0
            self.restored += 1 if "hide-one" in traps else 0
            traps.clear()

    def indexes(self):
        for declared in self.declared.values():
            wanted = [index for index in declared.indexes if index["name"] != "_id_" and "clustered" not in index]
            if declared.place and wanted:
                database, name = declared.place
                for index in wanted:
                    index.pop("v", None)
                    index.pop("ns", None)
                self.client[database].command(SON([("createIndexes", name), ("indexes", wanted)]))


class Declared:
    def __init__(self, document, restore):
        self.database = document["db"]
        self.name = document["collection"]
        text = document["metadata"]
        metadata = json_util.loads(text, json_options=json_util.JSONOptions(
            json_mode=json_util.JSONMode.CANONICAL, document_class=SON)) if text else {}
        self.type = document["type"] or metadata.get("type", "collection")
        self.data_name = "system.buckets." + self.name if self.type == "timeseries" else self.name
        self.options = metadata.get("options", SON())
        self.indexes = metadata.get("indexes", [])
        self.place = restore.target(self.database, self.name) if self.database else None


def unescape(pattern):
    return pattern.replace("\\*", "*").replace("\\$", "$").replace("\\\\", "\\")


def matches(pattern, name):
    return name.startswith(unescape(pattern.removesuffix("*")))


def main():
    tool = sys.argv[1]
    options = Options(sys.argv[2:])
    if options.version:
        print(f"{tool} version: {VERSION}\ngit version: stand-in\nGo version: none")
        return
    signal.signal(signal.SIGTERM, on_signal if tool == "mongodump" else signal.SIG_DFL)
    if not options.archive:
        fail("this stand-in knows archives only")
    (Dump if tool == "mongodump" else Restore)(options).run()


main()
