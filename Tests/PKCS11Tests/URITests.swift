import Core
import PKCS11Keyring
import Testing

@Suite("PKCS#11 URIs")
struct URITests {
    @Test("Every attribute of RFC 7512 that names a key, a token or a module is read, with its escapes")
    func whole() throws {
        let uri = try PKCS11URI(
            parsing: "pkcs11:token=Main%20HSM;serial=00%3A1;object=clinic%2Ckek;id=%01%ff;type=secret-key;slot-id=7"
                + "?module-path=/usr/lib/p11.so&pin-source=file:/run/secrets/pin&lifeboat-mechanism=aes-key-wrap")
        #expect(uri.object == "clinic,kek")
        #expect(uri.keyName == "clinic,kek")
        #expect(uri.id == [1, 255])
        #expect(uri.type == .secretKey)
        #expect(uri.modulePath == "/usr/lib/p11.so")
        #expect(uri.pinFile == "/run/secrets/pin")
        #expect(uri.mechanism == .aesKeyWrap)
        #expect(!uri.acceptsExtractable)
        let small = try PKCS11URI(parsing: "PKCS11:id=%0A?module-name=softhsm2&lifeboat-extractable=accept")
        #expect(small.keyName == "id=0a")
        #expect(small.moduleName == "softhsm2")
        #expect(small.acceptsExtractable)
        #expect(try PKCS11URI(parsing: "pkcs11:object=a?pin-source=file:///run/pin").pinFile == "/run/pin")
        #expect(try PKCS11URI(parsing: "pkcs11:object=a:[]@!$'()*+,=&b").object == "a:[]@!$'()*+,=&b")
    }

    @Test(
        "Anything that could not be obeyed is refused, and a PIN in it is not repeated",
        arguments: [
            "", "kms:object=a", "pkcs11:", "pkcs11:token=a", "pkcs11:object=", "pkcs11:object", "pkcs11:object=a;",
            "pkcs11:object=a;object=b", "pkcs11:object=a;x-vendor=b", "pkcs11:object=a?x-vendor=b",
            "pkcs11:object=a b", "pkcs11:object=a/b", "pkcs11:object=%4", "pkcs11:object=%GG", "pkcs11:object=%00",
            "pkcs11:object=%ff", "pkcs11:object=a;type=cert", "pkcs11:object=a;type=data",
            "pkcs11:object=a;slot-id=x",
            "pkcs11:object=a;slot-id=-1", "pkcs11:object=a;serial=12345678901234567",
            "pkcs11:object=a?module-path=lib.so", "pkcs11:object=a?module-path=/a&module-name=b",
            "pkcs11:object=a?module-name=../b", "pkcs11:object=a?pin-value=quince",
            "pkcs11:object=a?pin-source=%7Ccat", "pkcs11:object=a?pin-source=|cat", "pkcs11:object=a?pin-source=pin",
            "pkcs11:object=a?lifeboat-mechanism=des", "pkcs11:object=a?lifeboat-extractable=yes",
            "pkcs11:object=a;type=public?lifeboat-mechanism=aes-gcm",
            "pkcs11:object=a;type=secret-key?lifeboat-mechanism=rsa-oaep-sha1",
        ])
    func refused(_ text: String) throws {
        let error = #expect(throws: PKCS11URIError.self) { try PKCS11URI(parsing: text) }
        let failure = try #require(error)
        #expect(failure.exitCode == .configuration)
        #expect(!failure.hint.isEmpty)
        #expect(!"\(failure)".contains("quince"))
    }

    @Test("Each mechanism has a provider id of its own, from which it is known again")
    func providerIDs() {
        #expect(Set(PKCS11Mechanism.allCases.map(\.providerID)).count == PKCS11Mechanism.allCases.count)
        for mechanism in PKCS11Mechanism.allCases {
            #expect(PKCS11Mechanism(providerID: mechanism.providerID) == mechanism)
        }
        #expect(PKCS11Mechanism(providerID: "lifeboat") == nil)
    }
}
