import CPKCS11
import Core

/// The token that a URI names, in a module.
struct PKCS11Token {
    let module: PKCS11Module
    let slot: UInt
    let info: ck_token_info
    /// For errors.
    let key: String
    let operation: String

    /// Looks for it in every slot. Throws where none or several fit.
    init(
        _ uri: PKCS11URI, in module: PKCS11Module, key: String, operation: String
    ) throws(PKCS11Error) {
        (self.module, self.key, self.operation) = (module, key, operation)
        let fail = { (problem: PKCS11Error.Problem) in PKCS11Error(problem, operation, key: key) }
        guard try Self.fits(uri, module, fail) else { throw fail(.tokenAbsent(seen: [])) }
        var found: [(slot: UInt, info: ck_token_info)] = []
        var seen: [String] = []
        for slot in try Self.slots(of: module, fail) {
            var token = ck_token_info()
            // A slot whose token goes while we look has none.
            guard module.functions.pointee.C_GetTokenInfo?(slot, &token) == CKR_OK,
                token.flags & UInt(CKF_TOKEN_INITIALIZED) != 0
            else { continue }
            seen.append("'\(printable(text(of: token.label)))'")
            if Self.fits(uri, slot, token, module) { found.append((slot, token)) }
        }
        guard let first = found.first else { throw fail(.tokenAbsent(seen: Array(seen.prefix(8)))) }
        guard found.count == 1 else { throw fail(.severalTokens(found.count)) }
        (slot, info) = (first.slot, first.info)
    }

    /// Whether it is still where it was found.
    var isPresent: Bool {
        var now = ck_token_info()
        return module.functions.pointee.C_GetTokenInfo?(slot, &now) == CKR_OK
            && text(of: now.serial_number) == text(of: info.serial_number)
            && now.flags & UInt(CKF_TOKEN_INITIALIZED) != 0
    }

    /// Whether it takes `mechanism` for sealing or opening.
    func offers(_ mechanism: PKCS11Mechanism, sealing: Bool) -> Bool {
        var info = ck_mechanism_info()
        guard module.functions.pointee.C_GetMechanismInfo?(slot, mechanism.code, &info) == CKR_OK else {
            return false
        }
        return info.flags & mechanism.flag(sealing: sealing) != 0
    }

    private static func slots(
        of module: PKCS11Module, _ fail: (PKCS11Error.Problem) -> PKCS11Error
    ) throws(PKCS11Error) -> [UInt] {
        let name = "C_GetSlotList"
        // Tokens may come between the two calls, so the second one is given some room.
        var count: UInt = 0
        var code = module.functions.pointee.C_GetSlotList?(1, nil, &count) ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        guard code == CKR_OK else { throw fail(.moduleFailed(function: name, code: code)) }
        guard count <= 4096 else { throw fail(.unexpected("the module says that it has \(count) tokens")) }
        count += 16
        var slots = [UInt](repeating: 0, count: Int(count))
        code = module.functions.pointee.C_GetSlotList?(1, &slots, &count) ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        guard code == CKR_OK else { throw fail(.moduleFailed(function: name, code: code)) }
        return Array(slots.prefix(Int(count)))
    }

    /// The attributes about the module itself.
    private static func fits(
        _ uri: PKCS11URI, _ module: PKCS11Module, _ fail: (PKCS11Error.Problem) -> PKCS11Error
    ) throws(PKCS11Error) -> Bool {
        let asked: [PKCS11URI.Expectation] = [.libraryDescription, .libraryManufacturer, .libraryVersion]
        guard asked.contains(where: { uri.expectations[$0] != nil }) else { return true }
        var info = ck_info()
        let code = module.functions.pointee.C_GetInfo?(&info) ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        guard code == CKR_OK else { throw fail(.moduleFailed(function: "C_GetInfo", code: code)) }
        let version = "\(info.library_version.major).\(info.library_version.minor)"
        return equal(uri, .libraryDescription, text(of: info.library_description))
            && equal(uri, .libraryManufacturer, text(of: info.manufacturer_id))
            && equal(uri, .libraryVersion, version)
    }

    private static func fits(_ uri: PKCS11URI, _ slot: UInt, _ token: ck_token_info, _ module: PKCS11Module) -> Bool {
        guard uri.slotID == nil || uri.slotID == slot, equal(uri, .token, text(of: token.label)),
            equal(uri, .manufacturer, text(of: token.manufacturer_id)), equal(uri, .model, text(of: token.model)),
            equal(uri, .serial, text(of: token.serial_number))
        else { return false }
        guard uri.expectations[.slotDescription] != nil || uri.expectations[.slotManufacturer] != nil else {
            return true
        }
        var info = ck_slot_info()
        guard module.functions.pointee.C_GetSlotInfo?(slot, &info) == CKR_OK else { return false }
        return equal(uri, .slotDescription, text(of: info.slot_description))
            && equal(uri, .slotManufacturer, text(of: info.manufacturer_id))
    }

    private static func equal(_ uri: PKCS11URI, _ expectation: PKCS11URI.Expectation, _ found: [UInt8]) -> Bool {
        guard let expected = uri.expectations[expectation] else { return true }
        return found.elementsEqual(expected.utf8)
    }

    private static func equal(_ uri: PKCS11URI, _ expectation: PKCS11URI.Expectation, _ found: String) -> Bool {
        equal(uri, expectation, Array(found.utf8))
    }
}

/// A field of fixed length without the blanks it is filled up with.
func text<Field>(of field: Field) -> [UInt8] {
    withUnsafeBytes(of: field) { bytes in
        var text = bytes.prefix { $0 != 0 }
        while text.last == UInt8(ascii: " ") { text.removeLast() }
        return Array(text)
    }
}

/// A device's own words, fit to be shown.
private func printable(_ bytes: [UInt8]) -> String {
    String(
        String(decoding: bytes, as: UTF8.self).unicodeScalars.map { scalar -> Character in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse: "?"
            default: Character(scalar)
            }
        })
}
