import AWS
import Core

/// A piece that the server has.
struct UploadedPiece: Sendable {
    /// From 1.
    var number: Int
    var etag: String
    var checksum: Checksum
}

/// An upload that has begun.
struct Upload: Sendable {
    var object: ObjectName
    var id: String
    /// The server knows checksums and wants them again at the end.
    var hasChecksums: Bool
}

/// An upload that a listing shows.
struct UnfinishedUpload: Sendable {
    /// As it stands in the bucket.
    var full: String
    var id: String
    var initiated: Timestamp
}

extension S3Bucket {
    /// Begins an upload. Not to be repeated blindly: each success leaves an upload to be ended.
    func createUpload(_ object: ObjectName, fields: HTTPFields) async throws -> Upload {
        var call = Call(
            operation: "CreateMultipartUpload", method: "POST", object: object,
            query: [(name: "uploads", value: nil)], headers: fields, isIdempotent: false)
        call.headers["x-amz-checksum-algorithm"] = Checksum.algorithm
        let answer = try await send(call)
        guard let id = try xml(answer, call).text("UploadId"), !id.isEmpty else {
            throw answerError(call, "it has no upload id")
        }
        return Upload(object: object, id: id, hasChecksums: answer.headers["x-amz-checksum-algorithm"] != nil)
    }

    func uploadPiece(_ upload: Upload, number: Int, chunks: [Chunk]) async throws -> UploadedPiece {
        let checksum = Checksum(chunks)
        var call = Call(
            operation: "UploadPart", method: "PUT", object: upload.object,
            query: [(name: "partNumber", value: String(number)), (name: "uploadId", value: upload.id)])
        call.headers.setChecksum(checksum.text)
        call.body = .chunks(chunks)
        call.deadline = Self.deadline(sending: call.body.count)
        let answer = try await send(call)
        guard answer.headers[Checksum.header] ?? checksum.text == checksum.text else {
            throw S3StoreError.checksum(key: upload.object.key)
        }
        guard let etag = answer.headers["ETag"], !etag.isEmpty else { throw answerError(call, "it has no ETag") }
        return UploadedPiece(number: number, etag: etag, checksum: checksum)
    }

    /// Makes the object of its pieces, which are in the order of their numbers.
    func completeUpload(_ upload: Upload, pieces: [UploadedPiece], createOnly: Bool) async throws {
        let parts = pieces.map { piece in
            let checksum = upload.hasChecksums ? "<ChecksumCRC32C>\(piece.checksum.text)</ChecksumCRC32C>" : ""
            return "<Part><PartNumber>\(piece.number)</PartNumber><ETag>\(XMLTree.escape(piece.etag))</ETag>"
                + "\(checksum)</Part>"
        }
        let xml =
            "<CompleteMultipartUpload xmlns=\"\(Self.namespace)\">\(parts.joined())</CompleteMultipartUpload>"
        var call = Call(
            operation: "CompleteMultipartUpload", method: "POST", object: upload.object,
            query: [(name: "uploadId", value: upload.id)])
        call.headers["Content-Type"] = "application/xml"
        if createOnly { call.headers["If-None-Match"] = "*" }
        call.body = .bytes(Array(xml.utf8))
        // The server may have to look at every piece before it answers.
        call.deadline = 300
        call.mayFailWithStatus200 = true
        _ = try await send(call)
    }

    /// Ends an upload and gives its pieces' space back. One that is not there is success, and false.
    @discardableResult
    func abortUpload(of object: ObjectName, id: String) async throws -> Bool {
        do {
            // An answer is wanted soon: the process may be about to end.
            _ = try await send(
                Call(
                    operation: "AbortMultipartUpload", method: "DELETE", object: object,
                    query: [(name: "uploadId", value: id)], deadline: 10))
            return true
        } catch let error as AWSError where error.isNotFound {
            return false
        }
    }

    /// All unfinished uploads whose names in the bucket begin with `prefix`, and the server's time.
    func unfinishedUploads(prefix: String) async throws -> (uploads: [UnfinishedUpload], time: Timestamp?) {
        var uploads: [UnfinishedUpload] = []
        var marker: (key: String, id: String)?
        while true {
            var call = Call(operation: "ListMultipartUploads", method: "GET")
            // Without an encoding: Ceph encodes the keys here, does not say so, and leaves the markers as they are.
            call.query = [(name: "uploads", value: nil), (name: "prefix", value: prefix)]
            if let marker {
                call.query += [
                    (name: "key-marker", value: marker.key), (name: "upload-id-marker", value: marker.id),
                ]
            }
            let answer = try await send(call)
            let tree = try xml(answer, call)
            for entry in tree.all("Upload") {
                guard let full = name(in: entry, of: tree, "Key"), let id = entry.text("UploadId"),
                    let initiated = entry.text("Initiated").flatMap({ Timestamp($0) })
                else { throw answerError(call, "an upload has no key, id or time") }
                uploads.append(UnfinishedUpload(full: full, id: id, initiated: initiated))
            }
            guard tree.text("IsTruncated") == "true" else {
                return (uploads, answer.headers["Date"].flatMap(httpDate))
            }
            guard let key = name(in: tree, of: tree, "NextKeyMarker"), let id = tree.text("NextUploadIdMarker"),
                marker?.key != key || marker?.id != id
            else { throw answerError(call, "there is to be more, and it does not say where") }
            marker = (key, id)
        }
    }
}
