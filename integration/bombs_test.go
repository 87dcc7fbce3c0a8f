package integration

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// TestBombs gives the platform packages that are small and unpack to more than a node should hold.
func TestBombs(t *testing.T) {
	const mebibyte = 1 << 20
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct {
			write func(io.Writer) error
			words string
		}{
			"zip that says how large":   {func(w io.Writer) error { return zeros(w, 5<<30, 5<<30) }, "more than the allowed 4.0G"},
			"zip that lies":             {func(w io.Writer) error { return zeros(w, 5<<30, 1000) }, "damaged"},
			"many entries":              {func(w io.Writer) error { return manyEntries(w, 600_000) }, "more than the allowed 500000 entries"},
			"overlapping entries":       {func(w io.Writer) error { return overlapping(w, mebibyte, 5000) }, "damaged"},
			"entries in their thousand": {func(w io.Writer) error { return nested(w, 1000) }, "lies too deep"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := asksFor(t, nil, offer(t, "badcompile"))
				from, to := io.Pipe()
				go func() { _ = to.CloseWithError(c.write(to)) }()
				require.NoError(t, shared.UploadFrom(t.Context(), request.AppID, from))
				info := fails(t, request, api.ErrStaging)
				assert.Contains(t, info.Message, c.words)
			})
		}
	})
	clean(t, shared)
}

// TestBombAsCache has a buildpack cache that unpacks to more than there may be: the staging goes on without it.
func TestBombAsCache(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		for name, write := range map[string]func(io.Writer) error{
			"large":   func(w io.Writer) error { return tarOfZeros(w, 5<<30) },
			"no tar":  func(w io.Writer) error { _, err := io.WriteString(w, "no tar at all"); return err },
			"cut off": func(w io.Writer) error { return tarOfZeros(&limited{w, 10_000}, 64<<20) },
			"a device": func(w io.Writer) error {
				return cacheOf(w, tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3})
			},
			"climbing": func(w io.Writer) error {
				return cacheOf(w, tar.Header{Name: "../../staged/app/run", Typeflag: tar.TypeReg})
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = write(w) }))
				t.Cleanup(server.Close)
				request := asksFor(t, zipOf(t, file("run", "true")), offer(t, "colours"))
				request.BuildpackCacheDownloadURI = server.URL + "/cache"
				result := stages(t, request)
				inOrder(t, logOf(t, request), "-----> Downloaded app buildpack cache (",
					"-----> The app buildpack cache cannot be used; staging goes on without it\n", "-----> Detected Colours")
				assert.Equal(t, "true", dropletOf(t, request.AppID, result.DropletSHA1)["app/run"].content)
			})
		}
	})
	clean(t, shared)
}

// block is so much of zeros, deflated once to be written again and again.
const block = 64 << 20

// deflatedBlock ends at the border of a byte: another may follow, and at the end lastBlock must.
func deflatedBlock() ([]byte, error) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err == nil {
		_, err = w.Write(make([]byte, block))
	}
	if err == nil {
		err = w.Flush()
	}
	return packed.Bytes(), err
}

var lastBlock = []byte{3, 0}

// deflated writes so many zeros, a multiple of block.
func deflated(to io.Writer, size int64) error {
	one, err := deflatedBlock()
	for range size / block {
		if err == nil {
			_, err = to.Write(one)
		}
	}
	if err == nil {
		_, err = to.Write(lastBlock)
	}
	return err
}

// zeros is a zip of one file of zeros, which says that it has claimed bytes.
func zeros(to io.Writer, size, claimed int64) error {
	one, err := deflatedBlock()
	if err != nil {
		return err
	}
	packed := int64(len(one))*(size/block) + int64(len(lastBlock))
	writer := zip.NewWriter(to)
	raw, err := writer.CreateRaw(&zip.FileHeader{
		Name: "zeros", Method: zip.Deflate, UncompressedSize64: uint64(claimed), CompressedSize64: uint64(packed), CRC32: 1,
	})
	if err == nil {
		err = deflated(raw, size)
	}
	return errors.Join(err, writer.Close())
}

// manyEntries is a zip of so many empty files.
func manyEntries(to io.Writer, count int) error {
	writer := zip.NewWriter(to)
	for n := range count {
		if _, err := writer.CreateRaw(&zip.FileHeader{Name: strconv.Itoa(n)}); err != nil {
			return err
		}
	}
	return writer.Close()
}

// nested is a zip of one file in so many directories, each in the one before.
func nested(to io.Writer, depth int) error {
	writer := zip.NewWriter(to)
	_, err := writer.Create(strings.Repeat("d/", depth) + "file")
	return errors.Join(err, writer.Close())
}

// overlapping is a zip with one file of zeros, which its directory lists again and again under other names.
func overlapping(to io.Writer, size, count int) error {
	content := make([]byte, size)
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return err
	}
	const nameLen, first = 5, 10_000
	le := binary.LittleEndian
	// The fields that the file's header and its records in the directory have in common.
	common := le.AppendUint16(le.AppendUint16(le.AppendUint16(nil, 20), 0), zip.Deflate)
	common = le.AppendUint32(common, 0) // the time
	common = le.AppendUint32(le.AppendUint32(common, crc32.ChecksumIEEE(content)), uint32(packed.Len()))
	common = le.AppendUint32(common, uint32(size))
	common = le.AppendUint16(le.AppendUint16(common, nameLen), 0)
	var out bytes.Buffer
	out.WriteString("PK\x03\x04")
	out.Write(common)
	out.WriteString(strconv.Itoa(first))
	out.Write(packed.Bytes())
	start := out.Len()
	for n := range count {
		out.WriteString("PK\x01\x02\x14\x00")
		out.Write(common)
		out.Write(make([]byte, 2+2+2+4+4)) // comment, disk, attributes, and where the file is: at 0
		out.WriteString(strconv.Itoa(first + n))
	}
	length := out.Len() - start
	out.WriteString("PK\x05\x06\x00\x00\x00\x00")
	out.Write(le.AppendUint16(le.AppendUint16(nil, uint16(count)), uint16(count)))
	out.Write(le.AppendUint32(le.AppendUint32(nil, uint32(length)), uint32(start)))
	out.Write([]byte{0, 0}) // no comment
	_, err = to.Write(out.Bytes())
	return err
}

// tarOfZeros is a tar.gz of one file of zeros, a multiple of block.
func tarOfZeros(to io.Writer, size int64) error {
	var head bytes.Buffer
	packed := gzip.NewWriter(&head)
	err := tar.NewWriter(packed).WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: size})
	if err == nil {
		err = packed.Flush()
	}
	if err == nil {
		_, err = to.Write(head.Bytes())
	}
	if err == nil {
		err = deflated(to, size+block) // the end of a tar is of zeros, too
	}
	return err
}

// cacheOf is a tar.gz of one entry without content.
func cacheOf(to io.Writer, header tar.Header) error {
	packed := gzip.NewWriter(to)
	writer := tar.NewWriter(packed)
	return errors.Join(writer.WriteHeader(&header), writer.Close(), packed.Close())
}

// limited passes on the first bytes alone.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	_, err := l.to.Write(p[:n])
	return len(p), err
}
