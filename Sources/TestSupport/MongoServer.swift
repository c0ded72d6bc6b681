import CMongoC
import Core
import Glibc

/// A throwaway MongoDB server for tests, on a free port of the loopback, with its data in a new directory under
/// `/tmp`; both are gone when the test process ends, in whatever way it ends.
///
/// Its program is the one that `scripts/mongod` fetches.
package final class MongoServer: Sendable {
    package struct Options: Sendable {
        /// A replica set of one member, `rs0`, which has an oplog.
        package var isReplicaSet = false
        /// With a password every session needs to log in; the user `root` has every right.
        package var password: String?

        package init(isReplicaSet: Bool = false, password: String? = nil) {
            self.isReplicaSet = isReplicaSet
            self.password = password
        }
    }

    package let port: Int
    package let options: Options
    /// The server's own directory, for tests that look at its files.
    package let directory: String

    private let guardian: ServerGuardian
    private let databases = Guarded(0)

    private init(port: Int, options: Options, guardian: ServerGuardian) {
        self.port = port
        self.options = options
        directory = guardian.announcement
        self.guardian = guardian
    }

    private static let sharedServer = Task { try await start() }
    private static let sharedReplicaSet = Task { try await start(Options(isReplicaSet: true)) }

    /// One standalone server for all tests of this process; each uses databases of its own, see ``newDatabase(_:)``.
    package static func shared() async throws -> MongoServer { try await sharedServer.value }

    /// The same with an oplog.
    package static func sharedReplica() async throws -> MongoServer { try await sharedReplicaSet.value }

    /// Starts a server of the test's own.
    package static func start(_ options: Options = Options()) async throws -> MongoServer {
        var failure: (any Error)?
        // Somebody else may take the port between our looking and the server's listening.
        for _ in 0..<5 {
            do {
                let server = try await launch(options)
                do {
                    try await server.prepare()
                    return server
                } catch {
                    try await server.stop()
                    throw error
                }
            } catch {
                failure = error
            }
        }
        throw failure ?? TestFailure("mongod did not start")
    }

    /// Stops the server and waits until its directory is gone. Harmless twice.
    package func stop() async throws { try await guardian.stop() }

    /// A connection string for `database`; as `user` where the server asks for one.
    package func uri(_ database: String = "", user: String = "root", password: String? = nil) -> String {
        let secret = password ?? options.password
        let login = secret.map { "\(user):\($0)@" } ?? ""
        var settings = secret == nil ? [] : ["authSource=admin"]
        if options.isReplicaSet { settings.append("replicaSet=rs0") }
        return "mongodb://\(login)127.0.0.1:\(port)/\(database)"
            + (settings.isEmpty ? "" : "?" + settings.joined(separator: "&"))
    }

    /// A name for a database that no other test of this server has. MongoDB makes it with its first collection.
    package func newDatabase(_ prefix: String = "test") -> String {
        databases.withLock { count in
            count += 1
            return "\(prefix)_\(count)"
        }
    }

    /// Runs a command, in Extended JSON, and returns the answer in canonical Extended JSON. Throws ``TestFailure`` with
    /// the server's words where it fails.
    @discardableResult
    package func run(_ command: String, in database: String = "admin") async throws -> String {
        try await run(command, in: database, uri: uri())
    }

    /// The same over another connection string.
    @discardableResult
    package func run(_ command: String, in database: String, uri: String) async throws -> String {
        try await onThread("mongo") { try MongoShell.run(command, in: database, uri: uri) }
    }

    /// Inserts documents, each in Extended JSON.
    package func insert(_ documents: [String], into collection: String, of database: String) async throws {
        try await run(
            #"{"insert":"\#(collection)","documents":[\#(documents.joined(separator: ","))]}"#, in: database)
    }

    /// How many documents a collection or view has.
    package func count(_ collection: String, of database: String) async throws -> Int {
        let answer = try await run(
            #"{"aggregate":"\#(collection)","pipeline":[{"$count":"n"}],"cursor":{}}"#, in: database)
        guard let mark = answer.firstRange(of: "\"$numberInt\" : \"") else { return 0 }
        return Int(answer[mark.upperBound...].prefix { $0.isNumber }) ?? 0
    }

    /// The names of a database's collections and views, sorted.
    package func collections(of database: String) async throws -> [String] {
        let answer = try await run(
            #"{"listCollections":1,"nameOnly":true,"authorizedCollections":false,"cursor":{"batchSize":10000}}"#,
            in: database)
        return answer.split(separator: "\"name\" : \"").dropFirst().map { String($0.prefix { $0 != "\"" }) }.sorted()
    }

    package func databaseNames() async throws -> [String] {
        let answer = try await run(#"{"listDatabases":1,"nameOnly":true}"#)
        return answer.split(separator: "\"name\" : \"").dropFirst().map { String($0.prefix { $0 != "\"" }) }.sorted()
    }
}

// MARK: Beginning

extension MongoServer {
    package static var part: RealPart {
        RealPart("mongod, fetched by scripts/mongod", isPresent: access(program, X_OK) == 0)
    }

    private static var program: String {
        let cache = environmentValue("XDG_CACHE_HOME") ?? (environmentValue("HOME") ?? "/root") + "/.cache"
        return "\(cache)/lifeboat/mongod-6.0.5/mongod"
    }

    private static func launch(_ options: Options) async throws -> MongoServer {
        let probe = try LoopbackSocket.bound(to: 0)
        let port = LoopbackSocket.port(of: probe)
        close(probe)
        let guardian = try await ServerGuardian.start(guardianScript, guardianArguments(port: port, options))
        return MongoServer(port: port, options: options, guardian: guardian)
    }

    /// Waits until it answers, makes the replica set and the first user.
    private func prepare() async throws {
        let direct =
            "mongodb://127.0.0.1:\(port)/?directConnection=true&serverSelectionTimeoutMS=20000&serverSelectionTryOnce=false"
        try await run(#"{"ping":1}"#, in: "admin", uri: direct)
        if options.isReplicaSet {
            let member = #"{"_id":0,"host":"127.0.0.1:\#(port)"}"#
            try await run(
                #"{"replSetInitiate":{"_id":"rs0","members":[\#(member)]}}"#, in: "admin", uri: direct)
            // With the set's name a session waits for the primary.
            try await run(
                #"{"ping":1}"#, in: "admin",
                uri:
                    "mongodb://127.0.0.1:\(port)/?replicaSet=rs0&serverSelectionTimeoutMS=20000&serverSelectionTryOnce=false"
            )
        }
        if let password = options.password {
            let user = #"{"createUser":"root","pwd":"\#(password)","roles":["root"]}"#
            let name = options.isReplicaSet ? "?replicaSet=rs0" : ""
            try await run(user, in: "admin", uri: "mongodb://127.0.0.1:\(port)/\(name)")
        }
    }

    /// Starts and guards the server, and removes it as soon as standard input ends, which it does with the test process.
    private static let guardianScript = #"""
        set -eu
        trap '' INT TERM HUP
        program=$1 port=$2 locked=$3
        shift 3
        directory=$(mktemp -d /tmp/lifeboat-mongo-XXXXXX)
        pid=
        clean_up() {
            if [ -n "$pid" ]; then
                kill -KILL "$pid" 2>/dev/null || true
                wait "$pid" 2>/dev/null || true
            fi
            rm -rf "$directory"
        }
        trap clean_up EXIT
        if [ "$locked" = yes ]; then
            (umask 077; printf 'throwaway' > "$directory/key")
            set -- "$@" --auth --keyFile "$directory/key"
        fi
        mkdir "$directory/data"
        "$program" --dbpath "$directory/data" --bind_ip 127.0.0.1 --port "$port" --nounixsocket \
            --wiredTigerCacheSizeGB 0.25 --setParameter diagnosticDataCollectionEnabled=false "$@" \
            </dev/null >"$directory/log" 2>&1 &
        pid=$!
        until grep -q 'Waiting for connections' "$directory/log"; do
            kill -0 "$pid" 2>/dev/null || { tail -n 5 "$directory/log" >&2; exit 1; }
            sleep 0.05
        done
        echo "ready $directory"
        cat >/dev/null
        """#

    private static func guardianArguments(port: Int, _ options: Options) -> [String] {
        [program, String(port), options.password == nil ? "no" : "yes"]
            + (options.isReplicaSet ? ["--replSet", "rs0", "--oplogSize", "64"] : [])
    }
}

/// Commands to a server in Extended JSON, for tests.
private enum MongoShell {
    private static let isReady: Void = {
        mongoc_init()
        mongoc_log_set_handler(nil, nil)
    }()

    static func run(_ command: String, in database: String, uri: String) throws -> String {
        _ = isReady
        guard let client = cmongoc_client(uri) else { throw TestFailure("not a connection string: \(uri)") }
        defer { mongoc_client_destroy(client) }
        var length: UInt32 = 0
        let json = Array(command.utf8)
        guard let request = cmongoc_from_json(json, json.count, &length) else {
            throw TestFailure("not Extended JSON: \(command)")
        }
        defer { bson_free(request) }
        var answerLength: UInt32 = 0
        var isDone = false
        var error = bson_error_t()
        guard
            let bytes = cmongoc_command(client, database, request, Int(length), &answerLength, &isDone, &error),
            let text = cmongoc_to_json(bytes, Int(answerLength))
        else { throw TestFailure("no answer to \(command.prefix(200)): \(words(error))") }
        defer {
            bson_free(bytes)
            bson_free(text)
        }
        let answer = String(cString: text)
        guard isDone, !answer.contains("\"writeErrors\"") else {
            throw TestFailure("mongod refused \(command.prefix(200)): \(words(error)) \(answer.prefix(500))")
        }
        return answer
    }

    private static func words(_ error: bson_error_t) -> String {
        withUnsafeBytes(of: error.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
