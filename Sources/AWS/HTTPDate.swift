package import Core

/// Reads the form of date that HTTP servers have to send (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
/// The two obsolete forms, which no server in question sends, are `nil`.
package func httpDate(_ text: String) -> Timestamp? {
    let parts = text.split(separator: " ")
    guard parts.count == 6, parts[5] == "GMT", parts[0].hasSuffix(","), parts[1].count == 2,
        let month = monthNames.firstIndex(of: parts[2])
    else { return nil }
    let monthText = month < 9 ? "0\(month + 1)" : "\(month + 1)"
    return Timestamp("\(parts[3])-\(monthText)-\(parts[1])T\(parts[4])Z")
}

/// The same form, for servers in tests.
package func httpDateText(_ time: Timestamp) -> String {
    // 1 January 1970 was a Thursday.
    let day = Int((time.milliseconds / 86_400_000) % 7)
    let fields = time.description.split { "-T:.Z".contains($0) }
    let month = Int(fields[1]).map { monthNames[$0 - 1] } ?? ""
    return "\(dayNames[day]), \(fields[2]) \(month) \(fields[0]) \(fields[3]):\(fields[4]):\(fields[5]) GMT"
}

private let monthNames: [Substring] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
]
private let dayNames = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
