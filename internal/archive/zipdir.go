package archive

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// The records at the end of a zip: their signatures, and the bytes of those parts of them that have a fixed length.
const (
	zipHeader       = "PK\x01\x02"
	zipEnd          = "PK\x05\x06"
	zip64End        = "PK\x06\x06"
	zip64Locator    = "PK\x06\x07"
	zipHeaderLen    = 46
	zipEndLen       = 22
	zip64EndLen     = 56
	zip64LocatorLen = 20
	// zipTailLen holds the longest comment beside the record of the end.
	zipTailLen = zipEndLen + math.MaxUint16
)

var little = binary.LittleEndian

// boundedZip is a zip as archive/zip is to see it. That package reads the whole directory into memory, whatever the end
// of the zip says of its length. So the directory is walked here first, record by record, and what stands behind it is
// replaced by an end that says what was found: no lie of the zip's own can lead the package elsewhere.
type boundedZip struct {
	file io.ReaderAt
	// end is where the directory ends in the file, in bytes; tail follows it.
	end  int64
	tail []byte
	// stopped is the context's Err: what is read may for long hold nothing that comes out.
	stopped func() error
}

func (z *boundedZip) size() int64 { return z.end + int64(len(z.tail)) }

// ReadAt reads what lies before the directory's end from the file, and its end from the tail.
func (z *boundedZip) ReadAt(p []byte, off int64) (int, error) {
	if err := z.stopped(); err != nil {
		return 0, err
	}
	if off < 0 || off > z.size() {
		// The system's error would look like the machine's.
		return 0, io.ErrUnexpectedEOF
	}
	n := 0
	if off < z.end {
		var err error
		n, err = z.file.ReadAt(p[:min(int64(len(p)), z.end-off)], off)
		if err != nil || n == len(p) {
			return n, err
		}
	}
	copied := copy(p[n:], z.tail[off+int64(n)-z.end:])
	if n += copied; n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// boundZip finds and walks the directory of a zip of so many bytes, and refuses one that is too large to be read.
func boundZip(ctx context.Context, file io.ReaderAt, size int64, options Options) (*boundedZip, error) {
	e, err := findZipEnd(file, size)
	if err != nil {
		return nil, err
	}
	if e.entries > uint64(options.MaxEntries) {
		return nil, tooManyEntries(options.MaxEntries)
	}
	start := e.at - int64(e.size)
	if e.size > uint64(e.at) || e.offset > math.MaxInt64 {
		return nil, damaged("", errors.New("its directory lies outside"))
	}
	// Something may stand before a zip, as before a program that unpacks itself. Then its offsets begin behind that;
	// unless they do not, which a record at the unshifted place tells.
	if int64(e.offset) < start && isZipHeader(file, int64(e.offset), size) {
		start = int64(e.offset)
	}
	entries, length, err := walkZip(io.NewSectionReader(file, start, size-start), options)
	if err != nil {
		return nil, err
	}
	if uint16(entries) != uint16(e.entries) { // some programs write no more of the number than fits
		return nil, damaged("", errors.New("its directory has another number of entries than its end says"))
	}
	tail := zipTail(entries, length, start, e.offset)
	return &boundedZip{file: file, end: start + length, tail: tail, stopped: ctx.Err}, nil
}

// zipEndRecord is what the end of a zip says of the directory.
type zipEndRecord struct {
	entries, size, offset uint64
	// at is where the record is, which is where the directory ends.
	at int64
}

func findZipEnd(file io.ReaderAt, size int64) (zipEndRecord, error) {
	tail := make([]byte, min(size, zipTailLen))
	if _, err := file.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return zipEndRecord{}, err
	}
	for i := len(tail) - zipEndLen; i >= 0; i-- {
		record := tail[i:]
		if string(record[:4]) != zipEnd {
			continue
		}
		if int(little.Uint16(record[20:])) > len(record)-zipEndLen {
			break // the comment is cut off
		}
		e := zipEndRecord{
			entries: uint64(little.Uint16(record[10:])), size: uint64(little.Uint32(record[12:])),
			offset: uint64(little.Uint32(record[16:])), at: size - int64(len(tail)-i),
		}
		if e.entries == math.MaxUint16 || e.size == math.MaxUint32 || e.offset == math.MaxUint32 {
			return findZip64End(file, size, e)
		}
		return e, nil
	}
	return zipEndRecord{}, refuse(ErrNotArchive, "", "the file is not a zip")
}

// findZip64End gives the record of a zip whose numbers do not fit into the old one, which is the right one when there
// is no other.
func findZip64End(file io.ReaderAt, size int64, old zipEndRecord) (zipEndRecord, error) {
	var locator [zip64LocatorLen]byte
	at := old.at - zip64LocatorLen
	if at < 0 {
		return old, nil
	}
	if _, err := file.ReadAt(locator[:], at); err != nil {
		return old, err
	}
	if string(locator[:4]) != zip64Locator {
		return old, nil
	}
	place := little.Uint64(locator[8:])
	if size < zip64EndLen || place > uint64(size-zip64EndLen) {
		return old, damaged("", errors.New("its end lies outside"))
	}
	var record [zip64EndLen]byte
	if _, err := file.ReadAt(record[:], int64(place)); err != nil {
		return old, err
	}
	if string(record[:4]) != zip64End {
		return old, damaged("", errors.New("its end is not where it says"))
	}
	return zipEndRecord{
		entries: little.Uint64(record[32:]), size: little.Uint64(record[40:]), offset: little.Uint64(record[48:]),
		at: int64(place),
	}, nil
}

// isZipHeader tells whether a whole record of a directory is at a place in the file.
func isZipHeader(file io.ReaderAt, at, size int64) bool {
	var header [zipHeaderLen]byte
	_, err := file.ReadAt(header[:], at)
	return err == nil && string(header[:4]) == zipHeader && at+zipHeaderLen+zipVariable(header[:]) <= size
}

// zipVariable is the length of a record's name, extra field and comment together.
func zipVariable(header []byte) int64 {
	return int64(little.Uint16(header[28:])) + int64(little.Uint16(header[30:])) + int64(little.Uint16(header[32:]))
}

// walkZip counts the records of a directory and their bytes. Like archive/zip it goes on for as long as there are any.
func walkZip(from io.Reader, options Options) (entries int, length int64, err error) {
	reader := bufio.NewReaderSize(from, copyBufferSize)
	header := make([]byte, zipHeaderLen)
	for {
		_, err := io.ReadFull(reader, header)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && string(header[:4]) != zipHeader {
			return entries, length, nil
		}
		if err != nil {
			return 0, 0, err
		}
		variable := zipVariable(header)
		if _, err := reader.Discard(int(variable)); errors.Is(err, io.EOF) {
			return entries, length, nil
		} else if err != nil {
			return 0, 0, err
		}
		entries++
		length += zipHeaderLen + variable
		if entries > options.MaxEntries {
			return 0, 0, tooManyEntries(options.MaxEntries)
		}
		if length > options.maxNames() {
			return 0, 0, namesTooLong()
		}
	}
}

// zipTail is the end of a zip whose directory is at start. archive/zip shifts all offsets by what start differs from
// offset.
func zipTail(entries int, length, start int64, offset uint64) []byte {
	tail := make([]byte, zip64EndLen+zip64LocatorLen+zipEndLen)
	end, locator, old := tail[:zip64EndLen], tail[zip64EndLen:], tail[zip64EndLen+zip64LocatorLen:]
	copy(end, zip64End)
	little.PutUint64(end[4:], zip64EndLen-12) // what follows this field
	little.PutUint64(end[24:], uint64(entries))
	little.PutUint64(end[32:], uint64(entries))
	little.PutUint64(end[40:], uint64(length))
	little.PutUint64(end[48:], offset)
	copy(locator, zip64Locator)
	little.PutUint64(locator[8:], uint64(start+length))
	little.PutUint32(locator[16:], 1) // the number of disks
	copy(old, zipEnd)
	little.PutUint16(old[8:], math.MaxUint16)
	little.PutUint16(old[10:], math.MaxUint16)
	little.PutUint32(old[12:], math.MaxUint32)
	little.PutUint32(old[16:], math.MaxUint32)
	return tail
}
