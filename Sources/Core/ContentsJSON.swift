extension Contents {
    package static let formatVersion: Int64 = 1

    package var json: JSON {
        .object([
            "format": .integer(Self.formatVersion),
            "data": .array(data.map(\.json)),
            "schema": .array(schema.map(\.json)),
        ])
    }

    package init(json: JSON) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: "")
        let version = try fields.integer("format")
        guard version == Self.formatVersion else {
            throw fields.error("format", "is \(version); this program reads \(Self.formatVersion)")
        }
        var data: [DataEntry] = []
        for (index, entry) in try fields.array("data").enumerated() {
            data.append(try DataEntry(json: entry, path: "data[\(index)]"))
        }
        var schema: [SchemaEntry] = []
        for (index, entry) in try fields.array("schema").enumerated() {
            schema.append(try SchemaEntry(json: entry, path: "schema[\(index)]"))
        }
        try fields.finish()
        self.init(data: data, schema: schema)
    }
}

extension DataEntry {
    var json: JSON {
        .object([
            "kind": .string(kind.rawValue), "schema": .string(schema), "name": .string(name),
            "columns": .array(columns.map { .string($0) }), "rows": .exact(rows), "sum": .string(sum.hex),
        ])
    }

    init(json: JSON, path: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: path)
        guard let kind = Kind(rawValue: try fields.string("kind")) else {
            throw fields.error("kind", "is none that is known")
        }
        self.init(
            kind: kind, schema: try fields.string("schema"), name: try fields.string("name"),
            columns: try fields.strings("columns"), rows: try fields.integer("rows"),
            sum: try fields.rowSum("sum"))
        try fields.finish()
    }
}

extension SchemaEntry {
    var json: JSON {
        .object([
            "type": .string(type), "schema": .string(schema), "name": .string(name), "owner": .string(owner),
            "count": .exact(count), "binding": .string(binding.hex), "printed": .string(printed.hex),
        ])
    }

    init(json: JSON, path: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: path)
        self.init(
            type: try fields.string("type"), schema: try fields.string("schema"), name: try fields.string("name"),
            owner: try fields.string("owner"), count: try fields.integer("count"),
            binding: try fields.rowSum("binding"), printed: try fields.rowSum("printed"))
        try fields.finish()
    }
}

extension JSONFields {
    fileprivate mutating func rowSum(_ field: String) throws(JSONFieldError) -> RowSum {
        guard let sum = RowSum(try hex(field, count: 32)) else { throw error(field, "must be a sum of digests") }
        return sum
    }
}
