import AWS
import Core
import S3Store
import TestSupport
import Testing

/// The contract of the port, on buckets of the servers there are.
@Suite struct S3ContractTests {
    @Test("Ceph over http keeps the store's contract", .needs(CephCluster.part), arguments: storeContract)
    func http(_ contract: StoreContractCase) async throws {
        let ceph = try await CephCluster.shared()
        let bucket = try await ceph.makeBucket(objectLock: true)
        let settings = S3Settings(bucket: bucket, multipartThreshold: 2 << 20, pieceSize: 5 << 20)
        try await withS3Store(settings, S3Wiring(environment: ceph.environment())) { try await contract.run($0) }
    }

    @Test(
        "Ceph over TLS by an authority of its own keeps it, in a bucket without locks, below a prefix with odd letters",
        .needs(CephCluster.part), arguments: storeContract.filter { !$0.needsLocks })
    func tls(_ contract: StoreContractCase) async throws {
        let ceph = try await CephCluster.shared()
        let settings = S3Settings(bucket: try await ceph.makeBucket(), prefix: "klinik süd/a+b=c&d")
        try await withS3Store(settings, S3Wiring(environment: ceph.environment(tls: true))) {
            try await contract.run($0)
        }
    }

    @Test("moto keeps it", .needs(MotoServer.part), arguments: storeContract)
    func moto(_ contract: StoreContractCase) async throws {
        let moto = try await MotoServer.shared()
        let bucket = "contract-" + hexText((0..<8).map { _ in UInt8.random(in: 0...255) })
        let credentials = FixedCredentials(
            AWSCredentials(accessKeyID: "testing", secretAccessKey: Secret("testing"), source: "tests"))
        try await CephCluster.makeBucket(bucket, at: moto.url, credentials: credentials, objectLock: true)
        try await withS3Store(S3Settings(bucket: bucket), S3Wiring(environment: moto.environment())) {
            try await contract.run($0)
        }
    }
}
