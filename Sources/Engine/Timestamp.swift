/// RFC 3339 in UTC, to the microsecond.
public enum Timestamp {
    public static func text(_ nanoseconds: Int64) -> String { text(nanoseconds, digits: 6) }

    /// The same to the nanosecond.
    public static func exact(_ nanoseconds: Int64) -> String { text(nanoseconds, digits: 9) }

    /// Written digit by digit into its place: a start has three of them, and texts put together cost twenty times that.
    private static func text(_ nanoseconds: Int64, digits: Int) -> String {
        let seconds = nanoseconds / 1_000_000_000
        let (year, month, day) = date(days: Int(seconds / 86400))
        let rest = Int(seconds % 86400)
        return String(unsafeUninitializedCapacity: 21 + digits) { bytes in
            var at = 0
            func put(_ number: Int, _ width: Int, _ behind: Unicode.Scalar) {
                var number = number
                for place in (at..<at + width).reversed() {
                    bytes.initializeElement(at: place, to: UInt8(ascii: "0") + UInt8(number % 10))
                    number /= 10
                }
                bytes.initializeElement(at: at + width, to: UInt8(ascii: behind))
                at += width + 1
            }
            put(year, 4, "-")
            put(month, 2, "-")
            put(day, 2, "T")
            put(rest / 3600, 2, ":")
            put(rest / 60 % 60, 2, ":")
            put(rest % 60, 2, ".")
            let fraction = Int(nanoseconds % 1_000_000_000)
            put(digits == 9 ? fraction : fraction / 1000, digits, "Z")
            return at
        }
    }

    /// Reads such a text back, with up to nine digits behind the point; nil for anything else.
    public static func nanoseconds(_ text: String) -> Int64? {
        let bytes = Array(text.utf8)
        guard (20...30).contains(bytes.count), bytes.last == 0x5a, bytes[4] == 0x2d, bytes[7] == 0x2d,
            bytes[10] == 0x54, bytes[13] == 0x3a, bytes[16] == 0x3a
        else { return nil }
        let number = { (range: Range<Int>) -> Int64? in
            var value: Int64 = 0
            for byte in bytes[range] {
                guard (0x30...0x39).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            return value
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            (1970...2200).contains(year), (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60,
            second < 61
        else { return nil }
        var fraction: Int64 = 0
        if bytes.count > 20 {
            guard bytes[19] == 0x2e, bytes.count > 21, let digits = number(20..<bytes.count - 1) else { return nil }
            fraction = digits
            for _ in (bytes.count - 21)..<9 { fraction *= 10 }
        }
        let seconds = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
        return seconds * 1_000_000_000 + fraction
    }

    /// The other way round of ``date(days:)``.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// The civil date of a day counted from 1970-01-01, by the 400-year cycle of the Gregorian calendar.
    private static func date(days: Int) -> (Int, Int, Int) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let civilMonth = month < 10 ? month + 3 : month - 9
        return (yearOfEra + era * 400 + (civilMonth <= 2 ? 1 : 0), civilMonth, dayOfYear - (153 * month + 2) / 5 + 1)
    }
}
