/// Reads a JSON object member by member and refuses what is left over, so that a document is either understood whole
/// or not at all.
package struct JSONFields {
    private var rest: [String: JSON]
    private let path: String

    /// `path` names the object in errors: `parts[2]`; empty for the document itself.
    package init(_ json: JSON, path: String) throws(JSONFieldError) {
        guard case .object(let members) = json else {
            throw JSONFieldError(field: path.isEmpty ? "document" : path, problem: "must be an object")
        }
        rest = members
        self.path = path
    }

    /// The members that have not been read yet.
    package var names: [String] { rest.keys.sorted() }

    package func name(_ field: String) -> String { path.isEmpty ? field : "\(path).\(field)" }

    package func error(_ field: String, _ problem: String) -> JSONFieldError {
        JSONFieldError(field: name(field), problem: problem)
    }

    package mutating func optional(_ field: String) -> JSON? { rest.removeValue(forKey: field) }

    package mutating func required(_ field: String) throws(JSONFieldError) -> JSON {
        guard let value = optional(field) else { throw error(field, "is missing") }
        return value
    }

    package mutating func optionalString(_ field: String) throws(JSONFieldError) -> String? {
        switch optional(field) {
        case nil: return nil
        case .string(let text)?: return text
        default: throw error(field, "must be a string")
        }
    }

    package mutating func string(_ field: String) throws(JSONFieldError) -> String {
        guard let text = try optionalString(field) else { throw error(field, "is missing") }
        return text
    }

    /// A number, or the string that stands for one past 2^53.
    package mutating func optionalInteger(_ field: String) throws(JSONFieldError) -> Int64? {
        switch optional(field) {
        case nil: return nil
        case .integer(let value)?: return value
        case .string(let text)?:
            guard let value = Int64(text), String(value) == text, value.magnitude > UInt64(JSON.largestInteger)
            else { throw error(field, "must be a whole number") }
            return value
        default: throw error(field, "must be a whole number")
        }
    }

    package mutating func integer(_ field: String) throws(JSONFieldError) -> Int64 {
        guard let value = try optionalInteger(field) else { throw error(field, "is missing") }
        return value
    }

    package mutating func optionalBool(_ field: String) throws(JSONFieldError) -> Bool? {
        switch optional(field) {
        case nil: return nil
        case .bool(let value)?: return value
        default: throw error(field, "must be true or false")
        }
    }

    package mutating func bool(_ field: String) throws(JSONFieldError) -> Bool {
        guard let value = try optionalBool(field) else { throw error(field, "is missing") }
        return value
    }

    package mutating func array(_ field: String) throws(JSONFieldError) -> [JSON] {
        guard case .array(let elements) = try required(field) else { throw error(field, "must be an array") }
        return elements
    }

    package mutating func strings(_ field: String) throws(JSONFieldError) -> [String] {
        var result: [String] = []
        for element in try array(field) {
            guard case .string(let text) = element else { throw error(field, "must be an array of strings") }
            result.append(text)
        }
        return result
    }

    package mutating func stringMap(_ field: String) throws(JSONFieldError) -> [String: String] {
        guard case .object(let members) = try required(field) else { throw error(field, "must be an object") }
        var result: [String: String] = [:]
        for (key, value) in members {
            guard case .string(let text) = value else { throw error("\(field).\(key)", "must be a string") }
            result[key] = text
        }
        return result
    }

    package mutating func timestamp(_ field: String) throws(JSONFieldError) -> Timestamp {
        guard let time = Timestamp(try string(field)) else {
            throw error(field, "must be a time like 2025-01-15T07:00:00Z")
        }
        return time
    }

    package mutating func hex(_ field: String, count: Int) throws(JSONFieldError) -> [UInt8] {
        guard let value = bytes(hexText: try string(field)), value.count == count else {
            throw error(field, "must be \(count) bytes in hexadecimal")
        }
        return value
    }

    /// The names that nothing asked for, sorted.
    package var unknown: [String] { rest.keys.sorted() }

    package func has(_ field: String) -> Bool { rest[field] != nil }

    package func finish() throws(JSONFieldError) {
        if let field = unknown.first { throw error(field, "is not known") }
    }
}

/// A document that is JSON but not what was expected.
package struct JSONFieldError: Error, Equatable, CustomStringConvertible {
    package var field: String
    package var problem: String

    package init(field: String, problem: String) {
        self.field = field
        self.problem = problem
    }

    package var description: String { "'\(field)' \(problem)" }
}
