package import AWS
package import Core
import Glibc
import Logging
import Subprocess
import SystemPackage

/// A throwaway Ceph of one monitor, one disk and one RADOS Gateway: a real S3 for tests, over http and over TLS by a
/// certificate authority of its own. It lies on the loopback at free ports and goes with the test process, in whatever
/// way that ends.
///
/// Starting one takes 15 to 20 seconds, so tests share it; each makes buckets of its own, which cost nothing.
package final class CephCluster: Sendable {
    /// `http://127.0.0.1:PORT`.
    package let url: String
    /// `https://127.0.0.1:PORT`, for clients that trust ``caFile``.
    package let tlsURL: String
    /// PEM: what `AWS_CA_BUNDLE` is set to.
    package let caFile: String
    package let accessKeyID = "LIFEBOATTESTS"
    package let secretAccessKey = Secret("lifeboat-tests-only")
    /// The one key that objects can be encrypted under (SSE-KMS).
    package let kmsKeyID = "clinic-key"

    private let stopRequest: AsyncStream<Never>.Continuation
    private let guardian: Task<Void, any Error>
    private let buckets = Guarded(0)

    private init(
        directory: String, ports: [Int], stopRequest: AsyncStream<Never>.Continuation,
        guardian: Task<Void, any Error>
    ) {
        url = "http://127.0.0.1:\(ports[0])"
        tlsURL = "https://127.0.0.1:\(ports[1])"
        caFile = "\(directory)/ca.pem"
        self.stopRequest = stopRequest
        self.guardian = guardian
    }

    deinit { stopRequest.finish() }

    private static let sharedCluster = Task { try await start() }

    /// One cluster for all tests of this process.
    package static func shared() async throws -> CephCluster { try await sharedCluster.value }

    package static var part: RealPart {
        let programs = ["radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "openssl", "curl"]
        return RealPart(
            "Ceph (radosgw, ceph-mon, ceph-osd), openssl and curl",
            isPresent: programs.allSatisfy { RealPart.program($0).isPresent })
    }

    private static func start() async throws -> CephCluster {
        // A port that is free now may be taken a moment later, by another test process that does the same.
        var last: any Error = TestFailure("Ceph did not start")
        for _ in 0..<3 {
            do {
                return try await startOnce()
            } catch {
                last = error
            }
        }
        throw last
    }

    private static func startOnce() async throws -> CephCluster {
        var template = Array("/tmp/lifeboat-ceph-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestFailure("no directory for Ceph: error \(errno)") }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let ports = try freePorts(3)
        let (stopRequested, stopRequest) = AsyncStream<Never>.makeStream()
        let (readiness, ready) = AsyncThrowingStream<Void, any Error>.makeStream()
        let guardian = Task<Void, any Error> {
            do {
                try await guardCluster([directory] + ports.map(String.init), until: stopRequested) { ready.finish() }
            } catch {
                ready.finish(throwing: error)
                throw error
            }
        }
        for try await _ in readiness {}
        return CephCluster(directory: directory, ports: ports, stopRequest: stopRequest, guardian: guardian)
    }

    /// Ports of the loopback that nobody listens on now.
    private static func freePorts(_ count: Int) throws -> [Int] {
        var descriptors: [Int32] = []
        // All are held until all are known, so that they differ.
        defer { for descriptor in descriptors { close(descriptor) } }
        return try (0..<count).map { _ in
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            guard descriptor >= 0 else { throw TestFailure("no socket: error \(errno)") }
            descriptors.append(descriptor)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let status = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    bind(descriptor, generic, length) == 0 ? getsockname(descriptor, generic, &length) : -1
                }
            }
            guard status == 0 else { throw TestFailure("no free port on the loopback: error \(errno)") }
            return Int(UInt16(bigEndian: address.sin_port))
        }
    }
}

// MARK: Clients

extension CephCluster {
    /// What a client of this cluster needs in its environment, the endpoint included (`AWS_ENDPOINT_URL_S3`).
    package func environment(tls: Bool = false) -> [String: String] {
        var environment = secretAccessKey.withRevealed { secret in
            [
                "AWS_ACCESS_KEY_ID": accessKeyID, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL_S3": tls ? tlsURL : url,
            ]
        }
        if tls { environment["AWS_CA_BUNDLE"] = caFile }
        return environment
    }

    package var credentials: FixedCredentials {
        FixedCredentials(
            AWSCredentials(accessKeyID: accessKeyID, secretAccessKey: secretAccessKey, source: "tests"))
    }

    /// A new, empty bucket's name. One with Object Lock has versions too.
    package func makeBucket(objectLock: Bool = false) async throws -> String {
        let number = buckets.withLock { count in
            count += 1
            return count
        }
        let name = "bucket-\(number)"
        try await Self.makeBucket(
            name, at: url, credentials: credentials, objectLock: objectLock)
        return name
    }

    /// Makes a bucket on any server that speaks S3, path style.
    package static func makeBucket(
        _ name: String, at url: String, credentials: any CredentialSource, objectLock: Bool = false
    ) async throws {
        let configuration = try AWSConfiguration(
            environment: ["AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": url],
            readFile: { _ in throw TestFailure("no shared configuration in tests") })
        let transport = try PooledTransport()
        let client = AWSClient(
            transport: transport, credentials: credentials, maxAttempts: 5, clock: RealClock(),
            sleep: { try await Task.sleep(for: .seconds($0)) }, random: { [UInt8](repeating: 7, count: $0) },
            logger: Logger(label: "tests", factory: { _ in SwiftLogNoOpLogHandler() }))
        var request = AWSRequest(
            .s3, "CreateBucket", on: "s3://\(name)", at: try configuration.endpoint(for: .s3), method: "PUT",
            path: "/\(name)")
        if objectLock { request.headers["x-amz-bucket-object-lock-enabled"] = "true" }
        do {
            _ = try await client.send(request)
        } catch {
            try await transport.shutdown()
            throw error
        }
        try await transport.shutdown()
    }
}

/// The machine's clock, for tests against servers that have their own.
package struct RealClock: WallClock {
    package init() {}

    package func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }
}

// MARK: The server

extension CephCluster {
    /// Makes, starts and guards the cluster, and removes it as soon as its standard input ends. That happens when the
    /// test process is done and also when it dies.
    private static let guardianScript = #"""
        set -eu
        trap '' INT TERM HUP
        directory=$1 http=$2 tls=$3 monitor=$4
        pids=
        clean_up() {
            # Everything in the directory is thrown away, so nobody has to be asked to write it down first.
            for pid in $pids; do kill -KILL "$pid" 2>/dev/null || true; done
            for pid in $pids; do while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done; done
            rm -rf "$directory"
        }
        trap clean_up EXIT
        cd "$directory"
        mkdir mon osd run log
        {
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                -subj "/CN=Lifeboat tests" -keyout ca.key -out ca.pem
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
                -keyout server.key -out server.csr
            echo 'subjectAltName=DNS:localhost,DNS:s3.localhost,DNS:*.s3.localhost,IP:127.0.0.1' > server.ext
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                -extfile server.ext -out server.crt
        } > log/openssl.log 2>&1
        cat server.key server.crt > server.pem
        identity=$(cat /proc/sys/kernel/random/uuid)
        cat > ceph.conf <<CONF
        [global]
        fsid = $identity
        mon initial members = a
        mon host = v1:127.0.0.1:$monitor
        public addr = 127.0.0.1
        cluster addr = 127.0.0.1
        ms bind ipv4 = true
        ms bind msgr2 = false
        auth cluster required = none
        auth service required = none
        auth client required = none
        auth allow insecure global id reclaim = true
        run dir = $directory/run
        admin socket = $directory/run/\$name.asok
        log file = $directory/log/\$name.log
        mon cluster log file = $directory/log/cluster.log
        keyring = /dev/null
        osd pool default size = 1
        osd pool default min size = 1
        osd pool default pg num = 8
        osd pool default pgp num = 8
        osd pool default pg autoscale mode = off
        mon allow pool size one = true
        mon max pg per osd = 1000
        mon warn on pool no redundancy = false
        mon warn on insecure global id reclaim allowed = false
        osd crush chooseleaf type = 0
        osd crush update on start = false
        osd class update on start = false
        osd objectstore = bluestore
        bluestore block path =
        bluestore block create = true
        bluestore block size = 32G
        bluestore block wal create = false
        bluestore block db create = false
        osd data = $directory/osd
        mon data = $directory/mon
        mon data avail crit = 1
        mon data avail warn = 1
        mon osd full ratio = 0.99
        mon osd nearfull ratio = 0.97
        mon osd backfillfull ratio = 0.98
        osd memory target = 939524096
        debug ms = 0
        [client.rgw]
        rgw frontends = beast endpoint=127.0.0.1:$http ssl_endpoint=127.0.0.1:$tls ssl_certificate=$directory/server.pem
        rgw dns name = s3.localhost
        rgw crypt require ssl = false
        rgw crypt s3 kms backend = testing
        rgw crypt s3 kms encryption keys = clinic-key=YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo=
        rgw enable usage log = false
        rgw enable gc threads = true
        rgw gc obj min wait = 5
        rgw gc processor period = 5
        rgw lc debug interval = 10
        rgw thread pool size = 64
        CONF
        export CEPH_CONF="$directory/ceph.conf"
        run() {
            # A monitor that could not take its port would be waited for without end.
            timeout 60 "$@" >> log/setup.log 2>&1 || {
                echo "$1 failed:" >&2
                tail -n 5 log/setup.log >&2
                exit 1
            }
        }
        run monmaptool --create --clobber --fsid "$identity" --addv a "v1:127.0.0.1:$monitor" monmap
        run ceph-mon -i a --mkfs --monmap monmap
        ceph-mon -i a -f < /dev/null > log/mon.out 2>&1 &
        pids=$!
        disk=$(cat /proc/sys/kernel/random/uuid)
        run ceph osd new "$disk" 0
        run ceph-osd -i 0 --mkfs --osd-uuid "$disk"
        run ceph osd crush add-bucket h1 host root=default
        run ceph osd crush add osd.0 1.0 root=default host=h1
        ceph-osd -i 0 -f < /dev/null > log/osd.out 2>&1 &
        pids="$pids $!"
        for _ in $(seq 50); do
            ceph osd stat 2>/dev/null | grep -q '1 up' && break
            sleep 0.1
        done
        run radosgw-admin user create --uid tests --display-name tests --access-key LIFEBOATTESTS \
            --secret-key lifeboat-tests-only --caps 'users=*;buckets=*'
        # Any class that the zone does not know is refused.
        for class in STANDARD_IA GLACIER_IR GLACIER DEEP_ARCHIVE; do
            run radosgw-admin zonegroup placement add --rgw-zonegroup default --placement-id default-placement \
                --storage-class "$class"
            run radosgw-admin zone placement add --rgw-zone default --placement-id default-placement \
                --storage-class "$class" --data-pool default.rgw.buckets.data
        done
        radosgw -n client.rgw --cluster ceph -f < /dev/null > log/rgw.out 2>&1 &
        pids="$pids $!"
        until curl -s --max-time 5 -o /dev/null "http://127.0.0.1:$http/"; do
            kill -0 "${pids##* }" 2>/dev/null || { cat log/rgw.out >&2; exit 1; }
            sleep 0.1
        done
        echo ready
        cat > /dev/null
        """#

    private static func guardCluster(
        _ arguments: [String], until stopRequested: AsyncStream<Never>, whenReady: @escaping @Sendable () -> Void
    ) async throws {
        var options = PlatformOptions()
        // A Ctrl-C at the terminal ends the tests, and through them the guardian; it must not end it directly.
        options.createSession = true
        let result = try await Subprocess.run(
            .path("/bin/sh"), arguments: Arguments(["-c", guardianScript, "guardian"] + arguments),
            platformOptions: options, input: .inputWriter, output: .sequence, error: .string(limit: 1 << 16)
        ) { execution in
            for try await line in execution.standardOutput.strings() where line.hasPrefix("ready") {
                whenReady()
                for await _ in stopRequested {}
                try await execution.standardInputWriter.finish()
            }
        }
        guard result.terminationStatus.isSuccess else {
            throw TestFailure("the throwaway Ceph failed: \(result.standardError)")
        }
    }
}
