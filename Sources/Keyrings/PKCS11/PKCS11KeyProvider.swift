import CPKCS11
package import Core
import Crypto
import Glibc

/// One key in a token: `pkcs11:URI`. The key never leaves it; data keys go in and out.
///
/// With AES-GCM what it makes is what the AWS Encryption SDK's raw AES keyring makes with the namespace `pkcs11`, and
/// with RSA-OAEP what its raw RSA keyring makes with the namespace `pkcs11-rsa-oaep-…`, both with the object's label
/// as the key's name. AES key wrap has no keyring there. The context is bound by AES-GCM alone.
///
/// Every call opens a session, on a thread of its own and within `timeLimit` seconds.
package struct PKCS11KeyProvider: KeyProvider {
    package let capabilities: KeyCapabilities
    private let uri: PKCS11URI
    private let pin: Secret?
    private let module: String?
    private let modules: PKCS11Modules
    private let timeLimit: Double
    private let sleep: @Sendable (Double) async throws -> Void
    private let now: @Sendable () -> Timestamp

    private static let dataKeyLength = 32
    private static let nonceLength = 12
    private static let tagLength = 16

    /// `pin` is the setting `PKCS11_PIN`; the URI's own `pin-source` comes before it. `module` is `PKCS11_MODULE`, for
    /// URIs that name none. Nothing is loaded or asked before the key is used.
    package init(
        uri: PKCS11URI, pin: Secret?, module: String?, modules: PKCS11Modules, timeLimit: Double = 30,
        sleep: @escaping @Sendable (Double) async throws -> Void, now: @escaping @Sendable () -> Timestamp
    ) {
        self.uri = uri
        self.pin = pin
        self.module = module
        self.modules = modules
        self.timeLimit = timeLimit
        self.sleep = sleep
        self.now = now
        capabilities = KeyCapabilities(
            name: "pkcs11:\(uri.keyName)", canWrap: true, canUnwrap: uri.type != .publicKey,
            // Of the others, one does not bind what it wraps to its set, and the rest have a public half.
            isSymmetric: uri.mechanism == .aesGCM)
    }

    package func generate(
        context: [String: String], random: RandomBytes
    ) async throws -> (dataKey: SecretBytes, wrapped: EncryptedDataKey) {
        let length = Self.dataKeyLength
        var dataKey = try await perform("make a data key in the token") { session throws(PKCS11Error) in
            try session.random(length)
        }
        if dataKey == nil {
            var fresh = random(length)
            dataKey = SecretBytes(wiping: &fresh)
        }
        guard let dataKey else { throw error(.unexpected("it gave no data key"), "make a data key in the token") }
        return (dataKey, try await wrap(dataKey, context: context))
    }

    package func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        let associated = try EncryptionContext.serialise(context)
        return try await perform("seal the data key in the token") { session throws(PKCS11Error) in
            let (key, mechanisms) = try sealingKey(session)
            var refusal: PKCS11Error?
            for mechanism in mechanisms {
                do throws(PKCS11Error) {
                    return try wrap(dataKey, associated, session, key, mechanism)
                } catch {
                    // The only way to learn which hashes a token takes.
                    guard mechanism.isRSA, error.isAboutParameters else { throw error }
                    refusal = session.token.error(.mechanismNotOffered(mechanism.rawValue))
                }
            }
            throw refusal ?? session.token.error(.mechanismNotOffered("AES-GCM, AES key wrap or RSA-OAEP"))
        }
    }

    package func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        guard let mechanism = PKCS11Mechanism(providerID: wrapped.providerID) else { return nil }
        // The length is compared as well, so that a key whose name begins with this one's is not taken for it.
        let prefix = infoPrefix(mechanism)
        let nonceLength = mechanism == .aesGCM ? Self.nonceLength : 0
        guard wrapped.providerInfo.starts(with: prefix), wrapped.providerInfo.count == prefix.count + nonceLength
        else { return nil }
        let operation = "open the data key in the token"
        let expected: Int? =
            switch mechanism {
            case .aesGCM: Self.dataKeyLength + Self.tagLength
            case .aesKeyWrap: Self.dataKeyLength + 8
            default: nil
            }
        guard !wrapped.ciphertext.isEmpty, expected == nil || wrapped.ciphertext.count == expected else {
            throw error(.doesNotOpen, operation)
        }
        let associated = try EncryptionContext.serialise(context)
        let nonce = Array(wrapped.providerInfo.suffix(nonceLength))
        let ciphertext = wrapped.ciphertext
        return try await perform(operation) { session throws(PKCS11Error) in
            let key = try openingKey(session, mechanism)
            guard session.token.offers(mechanism, sealing: false) else {
                throw session.token.error(.mechanismNotOffered(mechanism.rawValue))
            }
            try checkPermission(session, key, mechanism, sealing: false)
            if mechanism.isRSA, let modulus = session.attribute(UInt(CKA_MODULUS), of: key),
                modulus.drop(while: { $0 == 0 }).count != ciphertext.count
            {
                throw session.token.error(.doesNotOpen)
            }
            let dataKey = try withMechanism(mechanism, nonce, associated) { parameters, _ throws(PKCS11Error) in
                mechanism == .aesKeyWrap
                    ? try session.unwrap(ciphertext, key, &parameters)
                    : try session.decrypt(ciphertext, key, &parameters)
            }
            guard dataKey.count == Self.dataKeyLength else { throw session.token.error(.doesNotOpen) }
            return dataKey
        }
    }

    /// The key's CKA_END_DATE: the end of that day.
    package func expiry() async throws -> Timestamp? {
        try await perform("look up the key in the token") { session throws(PKCS11Error) in
            let (key, _) = try sealingKey(session)
            return endDate(session, key)?.adding(seconds: 86_400)
        }
    }

    // MARK: Steps

    private func error(_ problem: PKCS11Error.Problem, _ operation: String) -> PKCS11Error {
        PKCS11Error(problem, operation, key: capabilities.name)
    }

    /// Gives `body` a session with the token, logged in where there is a PIN.
    private func perform<Value: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (borrowing PKCS11Session) throws(PKCS11Error) -> Value
    ) async throws -> Value {
        let used = Guarded<PKCS11Module?>(nil)
        let late = error(.noAnswer(seconds: timeLimit), operation)
        return try await withTimeLimit(seconds: timeLimit, sleep: sleep) {
            if let module = used.value { module.isStuck.withLock { $0 = true } }
            return late
        } _: {
            let pin = try readPIN(operation)
            let module = try loadModule(operation)
            used.withLock { $0 = module }
            guard !module.isStuck.value else { throw late }
            return try module.turn.withLock { _ throws(PKCS11Error) in
                let session = try PKCS11Session(
                    PKCS11Token(uri, in: module, key: capabilities.name, operation: operation))
                if let pin { try session.logIn(pin) }
                return try body(session)
            }
        }
    }

    private func loadModule(_ operation: String) throws(PKCS11Error) -> PKCS11Module {
        let paths = uri.modulePaths(setting: module)
        guard let last = paths.last else { throw error(.noModule, operation) }
        for path in paths.dropLast() {
            do throws(PKCS11Error) {
                return try modules.module(at: path, for: capabilities.name)
            } catch {
                guard case .moduleMissing = error.problem else { throw error }
            }
        }
        return try modules.module(at: last, for: capabilities.name)
    }

    /// The PIN, read anew every time, so that it is held no longer than it is used.
    private func readPIN(_ operation: String) throws(PKCS11Error) -> Secret? {
        guard let path = uri.pinFile else { return pin }
        guard let file = fopen(path, "re") else { throw error(.pinUnreadable(path), operation) }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 257)
        defer { bytes.withUnsafeMutableBytes { wipe($0) } }
        var count = fread(&bytes, 1, bytes.count, file)
        if count > 0, bytes[count - 1] == UInt8(ascii: "\n") { count -= 1 }
        guard count > 0, count <= 256, let text = String(validating: bytes.prefix(count), as: UTF8.self) else {
            throw error(.pinUnreadable(path), operation)
        }
        return Secret(text)
    }

    /// The key to seal with, and the mechanisms to try with it, best first.
    private func sealingKey(
        _ session: borrowing PKCS11Session
    ) throws(PKCS11Error) -> (key: UInt, mechanisms: [PKCS11Mechanism]) {
        let isRSA: Bool
        var known: UInt?
        if let mechanism = uri.mechanism {
            isRSA = mechanism.isRSA
        } else if let type = uri.type {
            isRSA = type != .secretKey
        } else {
            let secret = try session.keys(UInt(CKO_SECRET_KEY), uri)
            guard secret.count <= 1 else { throw session.token.error(.severalKeys(secret.count)) }
            known = secret.first
            isRSA = secret.isEmpty
            if !isRSA, try !session.keys(UInt(CKO_PUBLIC_KEY), uri).isEmpty {
                throw session.token.error(.severalKeys(2))
            }
        }
        let found: UInt
        if let known {
            found = known
        } else {
            found = try onlyKey(session, isRSA ? UInt(CKO_PUBLIC_KEY) : UInt(CKO_SECRET_KEY))
        }
        try checkSealingKey(session, found, isRSA: isRSA)
        if let mechanism = uri.mechanism {
            guard session.token.offers(mechanism, sealing: true) else {
                throw session.token.error(.mechanismNotOffered(mechanism.rawValue))
            }
            try checkPermission(session, found, mechanism, sealing: true)
            return (found, [mechanism])
        }
        let candidates: [PKCS11Mechanism] = isRSA ? [.rsaOAEPSHA256, .rsaOAEPSHA1] : [.aesGCM, .aesKeyWrap]
        let token = session.token
        var usable: [PKCS11Mechanism] = []
        for mechanism in candidates where token.offers(mechanism, sealing: true) {
            let permission = mechanism.permission(sealing: true)
            if session.flag(permission.attribute, of: found) != false { usable.append(mechanism) }
        }
        guard !usable.isEmpty else {
            throw token.error(.mechanismNotOffered(candidates.map(\.rawValue).joined(separator: " or ")))
        }
        return (found, usable)
    }

    private func openingKey(
        _ session: borrowing PKCS11Session, _ mechanism: PKCS11Mechanism
    ) throws(PKCS11Error) -> UInt {
        try onlyKey(session, mechanism.isRSA ? UInt(CKO_PRIVATE_KEY) : UInt(CKO_SECRET_KEY))
    }

    private func onlyKey(_ session: borrowing PKCS11Session, _ kind: UInt) throws(PKCS11Error) -> UInt {
        let found = try session.keys(kind, uri)
        guard let key = found.first else {
            // A private object does not show to who has not logged in.
            if pin == nil, uri.pinFile == nil, session.token.info.flags & UInt(CKF_LOGIN_REQUIRED) != 0,
                kind != CKO_PUBLIC_KEY
            {
                throw session.token.error(.pinNeeded)
            }
            let name =
                switch kind {
                case UInt(CKO_PUBLIC_KEY): "public key"
                case UInt(CKO_PRIVATE_KEY): "private key"
                default: "secret key"
                }
            throw session.token.error(.keyMissing(name))
        }
        guard found.count == 1 else { throw session.token.error(.severalKeys(found.count)) }
        return key
    }

    private func checkPermission(
        _ session: borrowing PKCS11Session, _ key: UInt, _ mechanism: PKCS11Mechanism, sealing: Bool
    ) throws(PKCS11Error) {
        let permission = mechanism.permission(sealing: sealing)
        if session.flag(permission.attribute, of: key) == false {
            throw session.token.error(.notPermitted(permission.name))
        }
    }

    /// What a key has to be for new backups; one that they were sealed with before opens them whatever it is.
    private func checkSealingKey(
        _ session: borrowing PKCS11Session, _ key: UInt, isRSA: Bool
    ) throws(PKCS11Error) {
        let type = session.number(UInt(CKA_KEY_TYPE), of: key)
        guard type == UInt(isRSA ? CKK_RSA : CKK_AES) else {
            throw session.token.error(.notSuitable("the key is neither an AES nor an RSA key"))
        }
        if isRSA {
            let bits = session.attribute(UInt(CKA_MODULUS), of: key).map { $0.drop { $0 == 0 }.count * 8 } ?? 0
            guard bits >= 2048 else { throw session.token.error(.notSuitable("the RSA key has only \(bits) bits")) }
        } else {
            if let length = session.number(UInt(CKA_VALUE_LEN), of: key), length != 32 {
                throw session.token.error(.notSuitable("the AES key has \(length * 8) bits in place of 256"))
            }
            if session.flag(UInt(CKA_EXTRACTABLE), of: key) != false, !uri.acceptsExtractable {
                throw session.token.error(.extractable)
            }
        }
        if let end = endDate(session, key), end.adding(seconds: 86_400) <= now() {
            throw session.token.error(.expired(end.day))
        }
    }

    /// CKA_END_DATE; `nil` where the key has none.
    private func endDate(_ session: borrowing PKCS11Session, _ key: UInt) -> Timestamp? {
        guard let date = session.attribute(UInt(CKA_END_DATE), of: key), date.count == 8,
            let text = String(validating: date, as: UTF8.self)
        else { return nil }
        return Timestamp("\(text.prefix(4))-\(text.dropFirst(4).prefix(2))-\(text.suffix(2))T00:00:00Z")
    }

    private func wrap(
        _ dataKey: SecretBytes, _ associated: [UInt8], _ session: borrowing PKCS11Session, _ key: UInt,
        _ mechanism: PKCS11Mechanism
    ) throws(PKCS11Error) -> EncryptedDataKey {
        let fresh: [UInt8] = mechanism == .aesGCM ? Array(AES.GCM.Nonce()) : []
        let (ciphertext, nonce) = try withMechanism(mechanism, fresh, associated) {
            parameters, nonce throws(PKCS11Error) in
            let ciphertext: [UInt8]
            if mechanism == .aesKeyWrap {
                ciphertext = try session.wrap(dataKey, key, &parameters)
            } else {
                let result: Result<[UInt8], PKCS11Error> = dataKey.withBytes { bytes in
                    Result { () throws(PKCS11Error) in try session.encrypt(bytes, key, &parameters) }
                }
                ciphertext = try result.get()
            }
            // Some devices draw the nonce themselves and leave it where they were given one.
            return (ciphertext, nonce())
        }
        if mechanism == .aesGCM, ciphertext.count != Self.dataKeyLength + Self.tagLength {
            throw session.token.error(.unexpected("AES-GCM gave \(ciphertext.count) bytes in place of 48"))
        }
        return EncryptedDataKey(
            providerID: mechanism.providerID, providerInfo: infoPrefix(mechanism) + nonce, ciphertext: ciphertext)
    }

    /// The provider info, for AES-GCM without the nonce: name, bits of the tag, bytes of the nonce.
    private func infoPrefix(_ mechanism: PKCS11Mechanism) -> [UInt8] {
        let name = Array(uri.keyName.utf8)
        guard mechanism == .aesGCM else { return name }
        return name + [0, 0, 0, UInt8(Self.tagLength * 8), 0, 0, 0, UInt8(Self.nonceLength)]
    }
}

extension PKCS11Error {
    /// The token does not know the hash that it was asked for.
    fileprivate var isAboutParameters: Bool {
        guard case .moduleFailed(_, let code) = problem else { return false }
        return [UInt(CKR_ARGUMENTS_BAD), UInt(CKR_MECHANISM_PARAM_INVALID), UInt(CKR_MECHANISM_INVALID)].contains(
            code)
    }
}

/// Gives `body` the mechanism with its parameters, and a way to read the nonce as the module has left it.
private func withMechanism<Result>(
    _ mechanism: PKCS11Mechanism, _ nonce: [UInt8], _ associated: [UInt8],
    _ body: (inout ck_mechanism, () -> [UInt8]) throws(PKCS11Error) -> Result
) throws(PKCS11Error) -> Result {
    let nonceRoom = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, nonce.count))
    let associatedRoom = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, associated.count))
    let gcm = UnsafeMutablePointer<ck_gcm_params>.allocate(capacity: 1)
    let oaep = UnsafeMutablePointer<ck_rsa_pkcs_oaep_params>.allocate(capacity: 1)
    defer {
        nonceRoom.deallocate()
        associatedRoom.deallocate()
        gcm.deallocate()
        oaep.deallocate()
    }
    _ = nonceRoom.initialize(from: nonce)
    _ = associatedRoom.initialize(from: associated)
    var parameters = ck_mechanism(mechanism: mechanism.code, parameter: nil, parameter_len: 0)
    if mechanism == .aesGCM {
        gcm.initialize(
            to: ck_gcm_params(
                iv_ptr: nonceRoom.baseAddress, iv_len: UInt(nonce.count), iv_bits: UInt(nonce.count * 8),
                aad_ptr: associated.isEmpty ? nil : associatedRoom.baseAddress, aad_len: UInt(associated.count),
                tag_bits: 128))
        parameters.parameter = UnsafeMutableRawPointer(gcm)
        parameters.parameter_len = UInt(MemoryLayout<ck_gcm_params>.size)
    } else if let hash = mechanism.hash {
        oaep.initialize(
            to: ck_rsa_pkcs_oaep_params(
                hash_alg: hash.mechanism, mgf: hash.mask, source: UInt(CKZ_DATA_SPECIFIED), source_data: nil,
                source_data_len: 0))
        parameters.parameter = UnsafeMutableRawPointer(oaep)
        parameters.parameter_len = UInt(MemoryLayout<ck_rsa_pkcs_oaep_params>.size)
    }
    return try body(&parameters) { Array(nonceRoom.prefix(nonce.count)) }
}
