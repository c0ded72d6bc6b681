/// The one of `known` that `name` was probably meant to be; `nil` where none is near.
///
/// Case and underscores count for nothing, so that `backup_key` finds `backupKey`; beyond that one edit in every
/// three letters is forgiven, and one in a short word.
func nearest(to name: String, in known: some Sequence<String>) -> String? {
    let wanted = folded(name)
    // A name longer than any of ours is no typing error, and the distance costs the product of both lengths.
    guard !wanted.isEmpty, wanted.count <= 64 else { return nil }
    var best: (name: String, distance: Int)?
    for candidate in known {
        let distance = editDistance(wanted, folded(candidate))
        if distance <= max(1, wanted.count / 3), distance < best?.distance ?? .max {
            best = (candidate, distance)
        }
    }
    return best?.name
}

/// `name` without what people vary in it: case and underscores.
func folded(_ name: String) -> [UInt8] {
    name.utf8.compactMap { byte in
        switch byte {
        case UInt8(ascii: "_"), UInt8(ascii: "-"): nil
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte | 0x20
        default: byte
        }
    }
}

/// How many letters have to be put in, taken out or replaced to make `b` of `a` (Levenshtein).
func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var row = Array(0...b.count)
    for (i, letter) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, other) in b.enumerated() {
            let replaced = diagonal + (letter == other ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
        }
    }
    return row[b.count]
}

/// `text` as it may stand in a message: what a terminal or a log could trip over is replaced, and a long one is cut.
///
/// Only for names and for words out of a short list, never for a value that could be a secret.
func shown(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars.prefix(40) {
        result.unicodeScalars.append((0x20..<0x7F).contains(scalar.value) ? scalar : "?")
    }
    return result.unicodeScalars.count < text.unicodeScalars.count ? result + "…" : result
}

/// Whether a control character stands in `text`: none is part of any name, path or key, and some would change what a
/// terminal shows.
func hasControlCharacter(_ text: String) -> Bool {
    text.unicodeScalars.contains { $0.properties.generalCategory == .control }
}

/// `a, b or c`, for hints.
func choices(_ words: some Sequence<String>, joinedBy conjunction: String = "or") -> String {
    let all = Array(words)
    guard let last = all.last, all.count > 1 else { return all.first ?? "" }
    return all.dropLast().joined(separator: ", ") + " \(conjunction) " + last
}
