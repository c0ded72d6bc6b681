package import Core

extension AWSRequest {
    /// What the body is signed as. Reads the whole body where its hash is neither known nor left out, so it is asked
    /// once for all attempts.
    package func payloadHash() -> String {
        if let bodySHA256 { return hexText(bodySHA256) }
        // TLS protects the bytes on the way, and the upload's own checksum what is stored: a hash over them would be
        // the third.
        if service == .s3 && endpoint.scheme == "https" && body.count > 0 { return SigV4.unsignedPayload }
        return hexText(sha256(body))
    }

    /// The request as it goes over the wire, signed where `credentials` are given.
    package func call(
        credentials: AWSCredentials?, time: Timestamp, payloadHash: String
    ) -> HTTPCall {
        let encodedPath = SigV4.encode(path, keeping: "/")
        var headers = headers
        headers["Host"] = endpoint.host
        if let credentials {
            let signer = SigV4(service: service.signingName, region: endpoint.region, time: time)
            headers["X-Amz-Date"] = signer.dateText
            if service == .s3 { headers["X-Amz-Content-Sha256"] = payloadHash }
            headers["X-Amz-Security-Token"] = credentials.sessionToken?.withRevealed { $0 }
            headers["Authorization"] = signer.authorization(
                SigV4.Request(
                    method: method, path: encodedPath, query: query, headers: headers, payloadHash: payloadHash),
                credentials: credentials)
        }
        // Added after the signature: a proxy on the way may change it.
        headers["User-Agent"] = "lifeboat"
        return HTTPCall(
            method: method, url: "\(endpoint.scheme)://\(endpoint.host)\(encodedPath)\(encodedQuery)",
            headers: headers,
            body: body, deadline: deadline)
    }

    private var encodedQuery: String {
        guard !query.isEmpty else { return "" }
        let pairs = query.map { SigV4.encode($0.name) + ($0.value.map { "=" + SigV4.encode($0) } ?? "") }
        return "?" + pairs.joined(separator: "&")
    }
}
