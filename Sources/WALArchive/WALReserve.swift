package import Core

/// A log in two stores: what the first does not have, or what does not open there, is taken from the second.
///
/// Damage that shows only after the beginning of a file was given is an error of the file's: half of it has been taken
/// by then.
package struct WALReserve: WALLibrary {
    private let first: any WALLibrary
    private let second: any WALLibrary

    package init(_ first: any WALLibrary, _ second: any WALLibrary) {
        self.first = first
        self.second = second
    }

    package func ranges(of systemID: String) async throws -> [WALRange] {
        let ranges: [WALRange]
        do {
            ranges = try await first.ranges(of: systemID)
        } catch let error as CancellationError {
            throw error
        } catch {
            return try await second.ranges(of: systemID)
        }
        do {
            return Self.joined(ranges + (try await second.ranges(of: systemID)))
        } catch let error as CancellationError {
            throw error
        } catch {
            // The first alone has answered: what is there is there.
            return ranges
        }
    }

    package func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)? {
        do {
            if let source = try await first.open(file, of: systemID) { return source }
        } catch let error as CancellationError {
            throw error
        } catch {
            if let source = try await second.open(file, of: systemID) { return source }
            throw error
        }
        return try await second.open(file, of: systemID)
    }

    /// What touches or overlaps is one, on each timeline.
    static func joined(_ ranges: [WALRange]) -> [WALRange] {
        var joined: [WALRange] = []
        for range in ranges.sorted(by: { ($0.timeline, $0.begin) < ($1.timeline, $1.begin) }) {
            if let last = joined.indices.last, joined[last].timeline == range.timeline,
                range.begin <= joined[last].end
            {
                joined[last].end = max(joined[last].end, range.end)
            } else {
                joined.append(range)
            }
        }
        return joined
    }
}
