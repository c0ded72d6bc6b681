import CPKCS11
import Core
import Glibc

/// One session with a token, closed when it is let go. One thread uses it.
struct PKCS11Session: ~Copyable {
    let token: PKCS11Token
    let handle: UInt
    private var functions: FunctionList { token.module.functions }

    init(_ token: PKCS11Token) throws(PKCS11Error) {
        var session: UInt = 0
        let code =
            token.module.functions.pointee.C_OpenSession?(
                token.slot, UInt(CKF_SERIAL_SESSION), nil, nil, &session) ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        guard code == CKR_OK else { throw token.error("C_OpenSession", code) }
        self.token = token
        handle = session
    }

    // With its last session the token logs us out, and objects of the session are gone.
    deinit { _ = functions.pointee.C_CloseSession?(handle) }

    /// Logs in, unless another session of this process has. A PIN that was refused once is never tried again, nor any
    /// where a wrong one would lock the token.
    func logIn(_ pin: Secret) throws(PKCS11Error) {
        let name = String(
            decoding: text(of: token.info.label) + [0] + text(of: token.info.serial_number), as: UTF8.self)
        try token.module.refusedPINs.withLock { refused throws(PKCS11Error) in
            guard refused[name] != pin else { throw token.error(.pinRefusedBefore) }
            // As it is now: another task may have tried.
            var now = ck_token_info()
            let flags = functions.pointee.C_GetTokenInfo?(token.slot, &now) == CKR_OK ? now.flags : token.info.flags
            if flags & UInt(CKF_USER_PIN_INITIALIZED) == 0 { throw token.error(.pinNotSet) }
            if flags & UInt(CKF_USER_PIN_LOCKED) != 0 { throw token.error(.pinLocked) }
            if flags & UInt(CKF_USER_PIN_FINAL_TRY) != 0 { throw token.error(.lastTry) }
            let code = pin.withRevealed { text in
                var bytes = Array(text.utf8)
                defer { bytes.withUnsafeMutableBytes { wipe($0) } }
                return functions.pointee.C_Login?(handle, UInt(CKU_USER), &bytes, UInt(bytes.count))
                    ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
            }
            switch code {
            case UInt(CKR_OK), UInt(CKR_USER_ALREADY_LOGGED_IN): return
            case UInt(CKR_PIN_INCORRECT), UInt(CKR_PIN_LEN_RANGE), UInt(CKR_PIN_INVALID):
                refused[name] = pin
                throw token.error(.wrongPIN)
            default: throw token.error("C_Login", code)
            }
        }
    }

    // MARK: Objects

    /// The keys of `kind` that the URI's label and id name; three at most are counted.
    func keys(_ kind: UInt, _ uri: PKCS11URI) throws(PKCS11Error) -> [UInt] {
        var attributes: [(UInt, [UInt8])] = [(UInt(CKA_CLASS), Self.bytes(kind))]
        if let label = uri.object { attributes.append((UInt(CKA_LABEL), Array(label.utf8))) }
        if let id = uri.id { attributes.append((UInt(CKA_ID), id)) }
        let code = Self.withTemplate(attributes) { template, count in
            functions.pointee.C_FindObjectsInit?(handle, template, count) ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        }
        try check("C_FindObjectsInit", code)
        var found = [UInt](repeating: 0, count: 3)
        var count: UInt = 0
        let search =
            functions.pointee.C_FindObjects?(handle, &found, UInt(found.count), &count)
            ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        _ = functions.pointee.C_FindObjectsFinal?(handle)
        try check("C_FindObjects", search)
        return Array(found.prefix(Int(count)))
    }

    /// `nil` where the key has no such attribute or does not show it.
    func attribute(_ type: UInt, of object: UInt) -> [UInt8]? {
        var attribute = ck_attribute(type: type, value: nil, value_len: 0)
        guard functions.pointee.C_GetAttributeValue?(handle, object, &attribute, 1) == CKR_OK,
            attribute.value_len <= 65536
        else { return nil }
        var value = [UInt8](repeating: 0, count: Int(attribute.value_len))
        let code = value.withUnsafeMutableBytes { room in
            attribute.value = room.baseAddress
            return functions.pointee.C_GetAttributeValue?(handle, object, &attribute, 1)
        }
        return code == CKR_OK && attribute.value_len <= value.count
            ? Array(value.prefix(Int(attribute.value_len))) : nil
    }

    func flag(_ type: UInt, of object: UInt) -> Bool? { attribute(type, of: object).map { $0.contains { $0 != 0 } } }

    func number(_ type: UInt, of object: UInt) -> UInt? {
        guard let bytes = attribute(type, of: object), bytes.count == MemoryLayout<UInt>.size else { return nil }
        return bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt.self) }
    }

    // MARK: Sealing and opening

    /// C_Encrypt of `data`, which `key` has to allow.
    func encrypt(
        _ data: UnsafeRawBufferPointer, _ key: UInt, _ mechanism: inout ck_mechanism
    ) throws(PKCS11Error) -> [UInt8] {
        let input = UnsafeMutablePointer(mutating: data.assumingMemoryBound(to: UInt8.self).baseAddress)
        try check("C_EncryptInit", functions.pointee.C_EncryptInit?(handle, &mechanism, key))
        var output = [UInt8](repeating: 0, count: Self.largest)
        var count = UInt(output.count)
        try check("C_Encrypt", functions.pointee.C_Encrypt?(handle, input, UInt(data.count), &output, &count))
        return Array(output.prefix(Int(count)))
    }

    func decrypt(
        _ data: [UInt8], _ key: UInt, _ mechanism: inout ck_mechanism
    ) throws(PKCS11Error) -> SecretBytes {
        try check("C_DecryptInit", functions.pointee.C_DecryptInit?(handle, &mechanism, key))
        var data = data
        var output = [UInt8](repeating: 0, count: Self.largest)
        defer { output.withUnsafeMutableBytes { wipe($0) } }
        var count = UInt(output.count)
        let code = functions.pointee.C_Decrypt?(handle, &data, UInt(data.count), &output, &count)
        try checkOpening("C_Decrypt", code)
        return output.withUnsafeBytes { SecretBytes(UnsafeRawBufferPointer(rebasing: $0.prefix(Int(count)))) }
    }

    /// Puts `data` into the session as a key and has it wrapped: for mechanisms that take no data.
    func wrap(
        _ data: SecretBytes, _ key: UInt, _ mechanism: inout ck_mechanism
    ) throws(PKCS11Error) -> [UInt8] {
        var value = data.withBytes { Array($0) }
        defer { value.withUnsafeMutableBytes { wipe($0) } }
        var object: UInt = 0
        let code = Self.withTemplate(Self.dataKey(value)) { template, count in
            functions.pointee.C_CreateObject?(handle, template, count, &object) ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        }
        try check("C_CreateObject", code)
        defer { _ = functions.pointee.C_DestroyObject?(handle, object) }
        var output = [UInt8](repeating: 0, count: Self.largest)
        var count = UInt(output.count)
        try check("C_WrapKey", functions.pointee.C_WrapKey?(handle, &mechanism, key, object, &output, &count))
        return Array(output.prefix(Int(count)))
    }

    func unwrap(
        _ data: [UInt8], _ key: UInt, _ mechanism: inout ck_mechanism
    ) throws(PKCS11Error) -> SecretBytes {
        var data = data
        var object: UInt = 0
        let code = Self.withTemplate(Self.dataKey(nil)) { template, count in
            functions.pointee.C_UnwrapKey?(
                handle, &mechanism, key, &data, UInt(data.count), template, count, &object)
                ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        }
        try checkOpening("C_UnwrapKey", code)
        defer { _ = functions.pointee.C_DestroyObject?(handle, object) }
        guard var value = attribute(UInt(CKA_VALUE), of: object) else {
            throw token.error(.unexpected("the token does not give the opened data key out (CKA_VALUE)"))
        }
        return SecretBytes(wiping: &value)
    }

    /// `count` bytes of the token's own randomness; `nil` where it has none.
    func random(_ count: Int) throws(PKCS11Error) -> SecretBytes? {
        guard token.info.flags & UInt(CKF_RNG) != 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: count)
        let code = functions.pointee.C_GenerateRandom?(handle, &bytes, UInt(count))
        if code == CKR_RANDOM_NO_RNG || code == CKR_FUNCTION_NOT_SUPPORTED { return nil }
        try check("C_GenerateRandom", code)
        return SecretBytes(wiping: &bytes)
    }

    /// Bytes that anything wrapped may have: RSA with 16,384 bits, and room.
    private static let largest = 4096

    private func check(_ function: String, _ code: UInt?) throws(PKCS11Error) {
        let code = code ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        guard code == CKR_OK else { throw token.error(function, code) }
    }

    /// What modules say of a wrapped key that was changed differs, and some only say that it failed.
    private func checkOpening(_ function: String, _ code: UInt?) throws(PKCS11Error) {
        switch code {
        case UInt(CKR_ENCRYPTED_DATA_INVALID), UInt(CKR_ENCRYPTED_DATA_LEN_RANGE), UInt(CKR_DATA_INVALID),
            UInt(CKR_DATA_LEN_RANGE), UInt(CKR_WRAPPED_KEY_INVALID), UInt(CKR_WRAPPED_KEY_LEN_RANGE),
            UInt(CKR_GENERAL_ERROR), UInt(CKR_FUNCTION_FAILED), UInt(CKR_ARGUMENTS_BAD):
            throw token.error(token.isPresent ? .doesNotOpen : .tokenRemoved)
        default: try check(function, code)
        }
    }

    private static func dataKey(_ value: [UInt8]?) -> [(UInt, [UInt8])] {
        var attributes: [(UInt, [UInt8])] = [
            (UInt(CKA_CLASS), bytes(UInt(CKO_SECRET_KEY))), (UInt(CKA_KEY_TYPE), bytes(UInt(CKK_GENERIC_SECRET))),
            (UInt(CKA_TOKEN), [0]), (UInt(CKA_PRIVATE), [0]), (UInt(CKA_SENSITIVE), [0]),
            (UInt(CKA_EXTRACTABLE), [1]),
        ]
        if let value { attributes.append((UInt(CKA_VALUE), value)) }
        return attributes
    }

    private static func bytes(_ number: UInt) -> [UInt8] { withUnsafeBytes(of: number) { Array($0) } }

    /// The attributes as the module reads them; the copies are wiped, for one of them may be a key.
    private static func withTemplate<Result>(
        _ attributes: [(type: UInt, value: [UInt8])], _ body: (UnsafeMutablePointer<ck_attribute>?, UInt) -> Result
    ) -> Result {
        let buffers = attributes.map { attribute in
            let buffer = UnsafeMutableRawBufferPointer.allocate(
                byteCount: max(1, attribute.value.count), alignment: 8)
            buffer.copyBytes(from: attribute.value)
            return buffer
        }
        defer {
            for buffer in buffers {
                wipe(buffer)
                buffer.deallocate()
            }
        }
        var template = zip(attributes, buffers).map { attribute, buffer in
            ck_attribute(
                type: attribute.type, value: buffer.baseAddress, value_len: UInt(attribute.value.count))
        }
        return template.withUnsafeMutableBufferPointer { body($0.baseAddress, UInt($0.count)) }
    }
}

extension PKCS11Token {
    func error(_ problem: PKCS11Error.Problem) -> PKCS11Error { PKCS11Error(problem, operation, key: key) }

    /// What a return code means, whatever function gave it.
    func error(_ function: String, _ code: UInt) -> PKCS11Error {
        switch code {
        case UInt(CKR_PIN_LOCKED): error(.pinLocked)
        case UInt(CKR_PIN_EXPIRED): error(.pinExpired)
        case UInt(CKR_USER_PIN_NOT_INITIALIZED): error(.pinNotSet)
        case UInt(CKR_USER_NOT_LOGGED_IN): error(.pinNeeded)
        case UInt(CKR_DEVICE_REMOVED), UInt(CKR_TOKEN_NOT_PRESENT), UInt(CKR_TOKEN_NOT_RECOGNIZED),
            UInt(CKR_SESSION_HANDLE_INVALID), UInt(CKR_SESSION_CLOSED), UInt(CKR_SLOT_ID_INVALID),
            UInt(CKR_KEY_HANDLE_INVALID), UInt(CKR_OBJECT_HANDLE_INVALID):
            error(.tokenRemoved)
        case UInt(CKR_DEVICE_ERROR), UInt(CKR_GENERAL_ERROR), UInt(CKR_FUNCTION_FAILED):
            error(isPresent ? .moduleFailed(function: function, code: code) : .tokenRemoved)
        default: error(.moduleFailed(function: function, code: code))
        }
    }
}
