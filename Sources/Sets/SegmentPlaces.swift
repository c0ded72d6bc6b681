package import Core

/// A segment whose bytes lie in an archive, in every copy there is of it.
package struct ArchivedSegment: Sendable {
    package struct Place: Sendable {
        package var copy: SetCopy
        package var storageClass: StorageClass
        package var isThawing: Bool
    }

    /// The object's key in each of the stores.
    package var key: String
    /// Bytes.
    package var size: Int64
    /// Where it could be thawed, never empty; the quickest first.
    package var places: [Place]
}

/// From where each segment of a set can be read, as far as the stores say before anything is read. Needs no key.
package struct SegmentPlaces: Sendable {
    struct Place: Sendable {
        /// The copies to read it from, one after another where one fails.
        var copies: [SetCopy] = []
        /// Why it does not begin with the first copy.
        var reason: String?
    }

    /// By the segment's path.
    private(set) var places: [String: Place] = [:]
    /// What has to be thawed first.
    package private(set) var archived: [ArchivedSegment] = []

    /// Asks for every segment until a copy has it, with its size, and can give it now. One that no copy has is an error
    /// that names it; one that is archived everywhere is not.
    package static func find(_ manifest: Manifest, in copies: Copies) async throws -> SegmentPlaces {
        var finding = Finding(key: manifest.key.description, copies: copies)
        for segment in manifest.parts.flatMap(\.segments) { try await finding.look(for: segment) }
        return finding.found
    }

    private struct Finding {
        let key: String
        let copies: Copies
        var found = SegmentPlaces()
        /// Stores that did not answer: not asked again and again, but read from as the last resort.
        var silent: [CopyName: any Error] = [:]

        mutating func look(for segment: Segment) async throws {
            var place = Place()
            var lastResort: [SetCopy] = []
            var frozen: [ArchivedSegment.Place] = []
            var refusals = CopyRefusals()
            for copy in copies.all {
                // Once one can give it, the others are held in reserve unasked.
                if !place.copies.isEmpty {
                    place.copies.append(copy)
                    continue
                }
                if let error = silent[copy.name] {
                    lastResort.append(copy)
                    refusals.add(copy, error)
                    continue
                }
                do {
                    let info = try await stat(segment, in: copy)
                    if info.availability == .online {
                        place.copies.append(copy)
                    } else {
                        frozen.append(
                            ArchivedSegment.Place(
                                copy: copy, storageClass: info.storageClass,
                                isThawing: info.availability == .thawing))
                        refusals.add(
                            copy,
                            ObjectArchived(
                                key: info.key, storageClass: info.storageClass,
                                isThawing: info.availability == .thawing))
                    }
                } catch let error as CancellationError {
                    throw error
                } catch let error as SetError {
                    refusals.add(copy, error)
                } catch {
                    guard !copies.reserve.isEmpty else { throw error }
                    silent[copy.name] = error
                    lastResort.append(copy)
                    refusals.add(copy, error)
                }
            }
            if place.copies.isEmpty {
                guard !frozen.isEmpty else { throw refusals.error }
                found.archived.append(
                    ArchivedSegment(
                        key: "\(key)/\(segment.path)", size: segment.storedSize,
                        places: frozen.sorted { $0.rank < $1.rank }))
            }
            place.copies += lastResort
            place.reason = refusals.reason
            found.places[segment.path] = place
        }

        private func stat(_ segment: Segment, in copy: SetCopy) async throws -> ObjectInfo {
            guard let info = try await copy.store.stat("\(key)/\(segment.path)") else {
                throw SetError.missingSegment(key: key, path: segment.path)
            }
            guard info.size == segment.storedSize else {
                throw SetError.wrongSize(
                    key: key, path: segment.path, recorded: segment.storedSize, found: info.size)
            }
            return info
        }
    }
}

extension ArchivedSegment.Place {
    /// What thaws already comes first, then what thaws in hours rather than in half a day.
    fileprivate var rank: Int { isThawing ? 0 : storageClass == .deepArchive ? 2 : 1 }
}
