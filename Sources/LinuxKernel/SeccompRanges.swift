/// One `struct sock_filter` (linux/filter.h).
struct FilterInstruction: Hashable {
    var code: UInt16
    var whenTrue: UInt8 = 0
    var whenFalse: UInt8 = 0
    var value: UInt32

    static let loadCode: UInt16 = 0x20
    static let maskCode: UInt16 = 0x54
    static let jumpCode: UInt16 = 0x05
    static let ifEqualCode: UInt16 = 0x15
    static let ifGreaterCode: UInt16 = 0x25
    static let ifAtLeastCode: UInt16 = 0x35
    static let ifAnyBitCode: UInt16 = 0x45
    static let answerCode: UInt16 = 0x06

    static func load(_ offset: UInt32) -> FilterInstruction { .init(code: loadCode, value: offset) }
    static func jump(_ distance: Int) -> FilterInstruction { .init(code: jumpCode, value: UInt32(distance)) }
    static func ifEqual(_ value: UInt32, then: Int) -> FilterInstruction {
        .init(code: ifEqualCode, whenTrue: UInt8(then), value: value)
    }
    static func ifAtLeast(_ value: UInt32, then: Int, otherwise: Int = 0) -> FilterInstruction {
        .init(code: ifAtLeastCode, whenTrue: UInt8(then), whenFalse: UInt8(otherwise), value: value)
    }
    static func answer(_ action: UInt32) -> FilterInstruction { .init(code: answerCode, value: action) }

    var bytes: [UInt8] {
        withUnsafeBytes(of: code) { Array($0) } + [whenTrue, whenFalse] + withUnsafeBytes(of: value) { Array($0) }
    }
}

extension SeccompProgram {
    var instructions: [FilterInstruction] {
        bytes.withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count, by: 8).map { start in
                FilterInstruction(
                    code: bytes.loadUnaligned(fromByteOffset: start, as: UInt16.self), whenTrue: bytes[start + 2],
                    whenFalse: bytes[start + 3],
                    value: bytes.loadUnaligned(fromByteOffset: start + 4, as: UInt32.self))
            }
        }
    }

    /// A program with the same answer to every call, that asks for ranges of call numbers.
    ///
    /// libseccomp compares with every number of a profile. Neighbours mostly get the same answer, so a
    /// comparison with each end of such a range does, and few are needed for each call. The kernel translates the
    /// filter into machine code at every start (seccomp(2)), so that a short one starts faster too.
    public var byRanges: SeccompProgram {
        var shortener = FilterShortener(instructions)
        guard let short = shortener.shortened(), short.count < instructionCount,
            let program = SeccompProgram(bytes: short.flatMap(\.bytes))
        else { return self }
        return program
    }
}

/// Takes a classic BPF program apart into what each instruction leads to, and puts it together again.
///
/// Everything but questions about a call number that was just loaded is copied as it is.
private struct FilterShortener {
    private enum Node: Hashable {
        case answer(UInt32)
        /// An instruction that always goes on with the next one.
        case plain(FilterInstruction, next: Int)
        case question(code: UInt16, value: UInt32, then: Int, otherwise: Int)
    }

    /// The call numbers from `first` up to the next range's first lead to the same instruction.
    private struct Range {
        let first: UInt32
        let target: Int
    }

    private let program: [FilterInstruction]
    private var nodes: [Node] = []
    private var numbers: [Node: Int] = [:]
    private var byPlace: [Int: Int] = [:]
    /// Against programs in which ranges multiply; the largest profile takes a few thousand.
    private var stepsLeft = 1 << 17
    private var isBroken = false

    init(_ program: [FilterInstruction]) { self.program = program }

    /// Nil: the program is none that can be followed, or it grew too far.
    mutating func shortened() -> [FilterInstruction]? {
        let root = node(at: 0)
        guard !isBroken else { return nil }
        var writer = Writer()
        write(root, &writer)
        return isBroken ? nil : writer.backwards.reversed()
    }

    // MARK: Apart

    private mutating func number(of node: Node) -> Int {
        if let known = numbers[node] { return known }
        nodes.append(node)
        numbers[node] = nodes.count - 1
        return nodes.count - 1
    }

    private mutating func node(at place: Int) -> Int {
        if let known = byPlace[place] { return known }
        stepsLeft -= 1
        guard program.indices.contains(place), stepsLeft > 0, !isBroken else {
            isBroken = true
            return 0
        }
        let instruction = program[place]
        let made: Node
        switch instruction.code {
        case FilterInstruction.answerCode: made = .answer(instruction.value)
        case FilterInstruction.jumpCode:
            let target = node(at: place + 1 + Int(instruction.value))
            byPlace[place] = target
            return target
        case FilterInstruction.ifEqualCode, FilterInstruction.ifGreaterCode, FilterInstruction.ifAtLeastCode,
            FilterInstruction.ifAnyBitCode:
            made = .question(
                code: instruction.code, value: instruction.value,
                then: node(at: place + 1 + Int(instruction.whenTrue)),
                otherwise: node(at: place + 1 + Int(instruction.whenFalse)))
        case FilterInstruction.loadCode where instruction.value == 0:
            made = .plain(instruction, next: decision(after: place))
        case FilterInstruction.loadCode where foregone(after: place) != nil:
            let target = node(at: foregone(after: place) ?? 0)
            byPlace[place] = target
            return target
        case let code where code & 0x07 == 0x05 || code & 0x07 == 0x06:
            isBroken = true  // a jump or an answer of another kind
            return 0
        default: made = .plain(instruction, next: node(at: place + 1))
        }
        let number = number(of: made)
        byPlace[place] = number
        return number
    }

    /// Where a load leads to whose value is masked with nothing and then compared: libseccomp asks so for the upper half
    /// of an argument of which only the lower one counts. Nil: it is none, or what comes next uses the value.
    private func foregone(after place: Int) -> Int? {
        guard program.indices.contains(place + 2) else { return nil }
        let (mask, question) = (program[place + 1], program[place + 2])
        guard mask.code == FilterInstruction.maskCode, mask.value == 0, question.code == FilterInstruction.ifEqualCode
        else { return nil }
        var target = place + 3 + Int(question.value == 0 ? question.whenTrue : question.whenFalse)
        while program.indices.contains(target), program[target].code == FilterInstruction.jumpCode {
            target += 1 + Int(program[target].value)
        }
        guard program.indices.contains(target) else { return nil }
        let next = program[target].code
        return next == FilterInstruction.loadCode || next == FilterInstruction.answerCode ? target : nil
    }

    /// The questions that follow the load of the call number, as a tree over ranges.
    private mutating func decision(after place: Int) -> Int {
        var ranges: [Range] = []
        follow(place + 1, 0...UInt32.max, &ranges)
        guard !isBroken else { return 0 }
        return tree(ranges[...])
    }

    /// Adds where the numbers of an interval come to, in their order.
    private mutating func follow(_ place: Int, _ interval: ClosedRange<UInt32>?, _ ranges: inout [Range]) {
        guard let interval else { return }
        stepsLeft -= 1
        guard program.indices.contains(place), stepsLeft > 0, !isBroken else {
            isBroken = true
            return
        }
        let instruction = program[place]
        let value = instruction.value
        let then = place + 1 + Int(instruction.whenTrue)
        let otherwise = place + 1 + Int(instruction.whenFalse)
        switch instruction.code {
        case FilterInstruction.jumpCode: follow(place + 1 + Int(value), interval, &ranges)
        case FilterInstruction.ifEqualCode:
            follow(otherwise, FilterShortener.part(of: interval, below: value), &ranges)
            if interval.contains(value) { follow(then, value...value, &ranges) }
            if value < UInt32.max { follow(otherwise, FilterShortener.part(of: interval, from: value + 1), &ranges) }
        case FilterInstruction.ifAtLeastCode:
            follow(otherwise, FilterShortener.part(of: interval, below: value), &ranges)
            follow(then, FilterShortener.part(of: interval, from: value), &ranges)
        case FilterInstruction.ifGreaterCode:
            guard value < UInt32.max else { return follow(otherwise, interval, &ranges) }
            follow(otherwise, FilterShortener.part(of: interval, below: value + 1), &ranges)
            follow(then, FilterShortener.part(of: interval, from: value + 1), &ranges)
        default:
            let target = node(at: place)
            if ranges.last?.target != target { ranges.append(Range(first: interval.lowerBound, target: target)) }
        }
    }

    private static func part(of interval: ClosedRange<UInt32>, below bound: UInt32) -> ClosedRange<UInt32>? {
        interval.lowerBound < bound ? interval.lowerBound...min(interval.upperBound, bound - 1) : nil
    }

    private static func part(of interval: ClosedRange<UInt32>, from bound: UInt32) -> ClosedRange<UInt32>? {
        interval.upperBound >= bound ? max(interval.lowerBound, bound)...interval.upperBound : nil
    }

    private mutating func tree(_ ranges: ArraySlice<Range>) -> Int {
        if ranges.count == 1 { return ranges[ranges.startIndex].target }
        let start = ranges.startIndex
        // One number apart from those on both sides of it.
        if ranges.count == 3, ranges[start].target == ranges[start + 2].target,
            ranges[start + 2].first == ranges[start + 1].first + 1
        {
            return number(
                of: .question(
                    code: FilterInstruction.ifEqualCode, value: ranges[start + 1].first,
                    then: ranges[start + 1].target, otherwise: ranges[start].target))
        }
        let middle = start + ranges.count / 2
        let (low, high) = (tree(ranges[..<middle]), tree(ranges[middle...]))
        return number(
            of: .question(
                code: FilterInstruction.ifAtLeastCode, value: ranges[middle].first, then: high, otherwise: low))
    }

    /// Where a word is compared under one mask after the other, and one answer is for all values but a few: a question
    /// for each of those. libseccomp has no other way to say of an argument that it is none of several values.
    private mutating func enumerated(_ number: Int) -> Int? {
        guard case .plain(let load, var next) = nodes[number], load.code == FilterInstruction.loadCode
        else { return nil }
        var patterns: [MaskedPattern] = []
        var match: Int?
        var rest: Int?
        while true {
            var mask = UInt32.max
            if case .plain(let instruction, let after) = nodes[next], instruction.code == FilterInstruction.maskCode {
                mask = instruction.value
                next = after
            }
            guard case .question(FilterInstruction.ifEqualCode, let value, let then, let otherwise) = nodes[next],
                match == nil || match == then
            else { break }
            match = then
            rest = otherwise
            patterns.append(MaskedPattern(mask: mask, value: value))
            guard case .plain(load, let following) = nodes[otherwise] else { break }
            next = following
        }
        // One question is as short as another. What follows must load a word of its own.
        guard patterns.count > 1, let match, let rest, forgets(match), forgets(rest),
            let (mask, values) = MaskedPattern.values(outside: patterns, atMost: patterns.count)
        else { return nil }
        var made = match
        for value in values.reversed() {
            made = self.number(
                of: .question(code: FilterInstruction.ifEqualCode, value: value, then: rest, otherwise: made))
        }
        if values.isEmpty { return made }
        if mask != .max {
            made = self.number(of: .plain(.init(code: FilterInstruction.maskCode, value: mask), next: made))
        }
        return self.number(of: .plain(load, next: made))
    }

    /// Whether an instruction does not use the word that was loaded before it.
    private func forgets(_ number: Int) -> Bool {
        switch nodes[number] {
        case .answer: true
        case .plain(let instruction, _): instruction.code == FilterInstruction.loadCode
        case .question: false
        }
    }

    // MARK: Together

    /// Jumps only lead forwards, so the program is written from its end.
    private struct Writer {
        var backwards: [FilterInstruction] = []
        var places: [Int: Int] = [:]

        func distance(to place: Int) -> Int { backwards.count - place - 1 }
    }

    private mutating func write(_ number: Int, _ writer: inout Writer) {
        if writer.places[number] != nil { return }
        if let short = enumerated(number) {
            write(short, &writer)
            writer.places[number] = writer.places[short]
            return
        }
        switch nodes[number] {
        case .answer(let action): writer.backwards.append(.answer(action))
        case .plain(let instruction, let next):
            write(next, &writer)
            if let place = writer.places[next], writer.distance(to: place) > 0 { _ = bring(next, &writer) }
            writer.backwards.append(instruction)
        case .question(let code, let value, let then, let otherwise):
            write(then, &writer)
            write(otherwise, &writer)
            var places = (writer.places[then] ?? 0, writer.places[otherwise] ?? 0)
            // What is brought nearer moves the other one further away by one.
            if writer.distance(to: places.0) > 254 { places.0 = bring(then, &writer) }
            if writer.distance(to: places.1) > 255 { places.1 = bring(otherwise, &writer) }
            writer.backwards.append(
                FilterInstruction(
                    code: code, whenTrue: UInt8(writer.distance(to: places.0)),
                    whenFalse: UInt8(writer.distance(to: places.1)), value: value))
        }
        writer.places[number] = writer.backwards.count - 1
    }

    /// A copy of an answer, or a jump to anything else, right here; where that is.
    private func bring(_ number: Int, _ writer: inout Writer) -> Int {
        if case .answer(let action) = nodes[number] {
            writer.backwards.append(.answer(action))
        } else {
            writer.backwards.append(.jump(writer.distance(to: writer.places[number] ?? 0)))
        }
        return writer.backwards.count - 1
    }
}
