import AsyncHTTPClient
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

extension TransportError {
    /// An error of the HTTP library, in words. `limits` says which limit a passed deadline was.
    init(reading error: any Error, limits: String) {
        switch error {
        case let error as TransportError: self = error
        case let error as HTTPClientError: self.init(error, limits: limits)
        case let error as NIOConnectionError: self.init(error)
        case let error as IOError: self.init(errno: error.errnoCode)
        case let error as NIOSSLError: self.init(error)
        case is NIOSSLExtraError:
            self.init(
                .tls, "the server's certificate is for another name",
                hint: "use the name that the certificate has, or a certificate with this name", isPermanent: true)
        case let error as BoringSSLError: self.init(handshake: error)
        case is NIOSSLCloseTimedOutError: self.init(.broken, "the connection could not be closed in time")
        case ChannelError.connectTimeout: self.init(.connect, "no connection in time")
        case is ChannelError, is HTTPParserError:
            self.init(.broken, "the connection was closed before the answer was complete")
        default: self.init(.broken, "the connection failed (\(type(of: error)))")
        }
    }

    private init(_ error: HTTPClientError, limits: String) {
        switch error {
        case .connectTimeout, .getConnectionFromPoolTimeout, .socksHandshakeTimeout, .httpProxyHandshakeTimeout:
            self.init(.connect, "no connection in time")
        case .tlsHandshakeTimeout: self.init(.tls, "the TLS handshake was not done in time")
        case .deadlineExceeded: self.init(.timeout, "no answer within \(limits)")
        case .readTimeout: self.init(.timeout, "nothing came for too long")
        case .writeTimeout: self.init(.timeout, "nothing could be sent for too long")
        case .remoteConnectionClosed: self.init(.broken, "the server closed the connection")
        case .uncleanShutdown: self.init(.broken, "the connection was cut")
        case .invalidURL, .emptyHost, .emptyScheme:
            self.init(.connect, "the address is not a URL", isPermanent: true)
        case .alreadyShutdown: self.init(.connect, "the client has been shut down", isPermanent: true)
        default: self.init(.broken, error.shortDescription)
        }
    }

    /// A name may have many addresses; the first reason stands for all.
    private init(_ error: NIOConnectionError) {
        if let first = error.connectionErrors.first {
            self.init(connecting: first.error)
        } else {
            self.init(
                .connect, "the host name \(error.host) is not known",
                hint: "check the endpoint and the region for a slip, and the machine's DNS")
        }
    }

    private init(connecting error: any Error) {
        guard let error = error as? IOError else {
            self.init(.connect, "no connection in time")
            return
        }
        self.init(.connect, Self.words(error.errnoCode), hint: "check that the server runs there, and the firewall")
    }

    private init(errno: CInt) {
        switch errno {
        case ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL:
            self.init(.connect, Self.words(errno), hint: "check that the server runs there, and the firewall")
        case ETIMEDOUT: self.init(.timeout, Self.words(errno))
        default: self.init(.broken, Self.words(errno))
        }
    }

    private static func words(_ errno: CInt) -> String {
        switch errno {
        case ECONNREFUSED: "the connection was refused"
        case ECONNRESET: "the connection was reset"
        case EPIPE: "the server closed the connection"
        case EHOSTUNREACH, ENETUNREACH: "there is no way to the host"
        case ETIMEDOUT: "the connection timed out"
        default: String(cString: strerror(errno))
        }
    }

    private init(_ error: NIOSSLError) {
        switch error {
        case .handshakeFailed(let cause): self.init(handshake: cause)
        case .unableToValidateCertificate, .noCertificateToValidate: self = Self.untrusted
        case .uncleanShutdown: self.init(.broken, "the connection was cut")
        default: self.init(.broken, "the TLS connection failed")
        }
    }

    private init(handshake error: BoringSSLError) {
        guard case .sslError(let stack) = error else {
            self.init(.tls, "the TLS handshake was broken off")
            return
        }
        // The library gives the reason in its text only.
        let text = stack.map(\.description).joined(separator: " ")
        if text.contains("CERTIFICATE_VERIFY_FAILED") {
            self = Self.untrusted
        } else if text.contains("WRONG_VERSION_NUMBER") || text.contains("HTTP_REQUEST") {
            self.init(
                .tls, "the server does not speak TLS on this port",
                hint: "check the endpoint's scheme and port", isPermanent: true)
        } else if text.contains("PROTOCOL_VERSION") || text.contains("UNSUPPORTED_PROTOCOL") {
            self.init(
                .tls, "the server has no TLS version from 1.2 on", hint: "let the server speak TLS 1.2 or 1.3",
                isPermanent: true)
        } else if stack.contains(.eofDuringHandshake) {
            self.init(.tls, "the server closed the connection during the TLS handshake")
        } else {
            self.init(.tls, "the TLS handshake failed")
        }
    }

    private static let untrusted = TransportError(
        .tls, "the server's certificate is not trusted, or has expired",
        hint: "name the file with its authority's certificate in AWS_CA_BUNDLE; for AWS itself, install the system's "
            + "certificates (ca-certificates)", isPermanent: true)
}
