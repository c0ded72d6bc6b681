import Core
import Envelope
import Foundation
import Testing

/// One message from `Fixtures/vectors.txt`.
struct Vector: Sendable, CustomTestStringConvertible {
    var name: String
    var expect: String
    var fields: [String: [UInt8]]

    var testDescription: String { "\(name): \(expect)" }

    /// Records stand apart by an empty line; a field's hexadecimal text goes on in indented lines.
    static func load() throws -> [Vector] {
        let text = try String(contentsOf: Repository.fixture("vectors.txt"), encoding: .utf8)
        return try text.components(separatedBy: "\n\n").dropFirst().map { record in
            var name = ""
            var expect = ""
            var hex: [String: String] = [:]
            var field = ""
            for line in record.split(separator: "\n") {
                if line.hasPrefix("  ") {
                    hex[field, default: ""] += line.dropFirst(2)
                    continue
                }
                let pieces = line.split(separator: ":", maxSplits: 1)
                field = String(pieces[0])
                let value = pieces.count > 1 ? String(pieces[1].dropFirst()) : ""
                switch field {
                case "name": name = value
                case "expect": expect = value
                default: hex[field] = ""
                }
            }
            let fields = try hex.mapValues { try #require(bytes(hexText: $0)) }
            return Vector(name: name, expect: expect, fields: fields)
        }
    }

    /// The word that the vectors use for each kind of error.
    static func word(_ error: EnvelopeError) -> String {
        switch error {
        case .noKeyOpens: "noKeyOpens"
        case .wrongDataKey: "wrongDataKey"
        case .malformedHeader: "malformedHeader"
        case .unsupported: "unsupported"
        case .headerAltered: "headerAltered"
        case .damaged(_, .tag): "tag"
        case .damaged(_, .order): "order"
        case .damaged(_, .length): "length"
        case .truncated: "truncated"
        case .trailingBytes: "trailingBytes"
        case .noRecipients, .recipientFailed, .unusableParameters, .wrongFrameSize, .tooManyFrames, .usedAfterError:
            "not about a message"
        }
    }
}

@Suite("Messages that others made")
struct VectorTests {
    /// The messages come from the AWS Encryption SDK for Python and from a second implementation of the format; each
    /// opens to its plaintext, or is refused for its own reason.
    @Test("Each opens, or is refused for the reason that it was made for")
    func vectors() async throws {
        let directory = try KeyDirectory()
        let clinic = try directory.aes("clinic.key", Array(0..<32))
        let escrow = try directory.rsa("escrow.pem", "rsa-private.pem")
        let vectors = try Vector.load()
        #expect(vectors.count >= 55)
        for vector in vectors {
            let message = try #require(vector.fields["message"], "\(vector.name)")
            do {
                let opened = try await open(message, with: [clinic, escrow])
                #expect(vector.expect == "opens", "\(vector.name) opened")
                #expect(opened == vector.fields["plaintext", default: []], "\(vector.name)")
            } catch let error as EnvelopeError {
                #expect(Vector.word(error) == vector.expect, "\(vector.name): \(error)")
            }
        }
    }

    @Test("The writer makes the very bytes that the other implementation made from the same keys")
    func sameBytes() throws {
        var compared = 0
        for vector in try Vector.load() {
            guard let dataKey = vector.fields["data-key"], let message = vector.fields["message"] else { continue }
            let header = try header(of: message)
            let parameters = MessageParameters(
                messageID: header.messageID, context: header.context, dataKeys: header.dataKeys,
                frameLength: header.frameLength)
            let plaintext = vector.fields["plaintext", default: []]
            let made = try seal(plaintext, dataKey: secret(dataKey), parameters: parameters)
            #expect(made == message, "\(vector.name)")
            compared += 1
        }
        #expect(compared >= 3)
    }

    @Test("A message for several recipients names them so that a person can find the key")
    func recipientNames() throws {
        let vector = try #require(try Vector.load().first { $0.name == "several recipients" })
        let names = try header(of: #require(vector.fields["message"])).dataKeys.map(\.recipientName)
        #expect(names == ["aws-kms/arn:aws:kms:eu-west-1:1:key/1", "lifeboat/escrow", "lifeboat/clinic"])
        let hostile = EncryptedDataKey(
            providerID: "a\u{1B}[31m", providerInfo: Array("b\nc\u{202E}".utf8) + [0xFF], ciphertext: [])
        #expect(hostile.recipientName == "a?[31m/b?c?\u{FFFD}")
    }
}
