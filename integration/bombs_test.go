package integration

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
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
			write func(*testing.T, io.Writer)
			words string
		}{
			"zip that says how large":   {func(t *testing.T, w io.Writer) { zeros(t, w, 5<<30, 5<<30) }, "more than the allowed 4.0G"},
			"zip that lies":             {func(t *testing.T, w io.Writer) { zeros(t, w, 5<<30, 1000) }, "damaged"},
			"many entries":              {func(t *testing.T, w io.Writer) { manyEntries(t, w, 600_000) }, "more than the allowed 500000 entries"},
			"overlapping entries":       {func(t *testing.T, w io.Writer) { overlapping(t, w, mebibyte, 5000) }, "damaged"},
			"entries in their thousand": {func(t *testing.T, w io.Writer) { nested(t, w, 1000) }, "lies too deep"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := asksFor(t, nil, offer(t, "badcompile"))
				from, to := io.Pipe()
				go func() {
					c.write(t, to)
					_ = to.Close()
				}()
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
		for name, write := range map[string]func(*testing.T, io.Writer){
			"large":   func(t *testing.T, w io.Writer) { tarOfZeros(t, w, 5<<30) },
			"no tar":  func(_ *testing.T, w io.Writer) { _, _ = io.WriteString(w, "no tar at all") },
			"cut off": func(t *testing.T, w io.Writer) { tarOfZeros(t, &limited{w, 10_000}, 64<<20) },
			"a device": func(t *testing.T, w io.Writer) {
				tarOf(t, w, tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3})
			},
			"climbing": func(t *testing.T, w io.Writer) {
				tarOf(t, w, tar.Header{Name: "../../staged/app/run", Typeflag: tar.TypeReg})
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { write(t, w) }))
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

// blocks are how much of zeros is compressed once, to be written again and again.
const blocks = 64 << 20

// deflated is a deflate stream of so many zeros, a multiple of blocks.
func deflated(t *testing.T, to io.Writer, size int64) int64 {
	t.Helper()
	var block bytes.Buffer
	w, err := flate.NewWriter(&block, flate.BestCompression)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, blocks))
	require.NoError(t, err)
	require.NoError(t, w.Flush()) // at the border of a byte: what follows may be another such block
	written := int64(0)
	for range size / blocks {
		n, _ := to.Write(block.Bytes()) // whoever has heard enough reads no more
		written += int64(n)
	}
	n, _ := to.Write([]byte{3, 0}) // an empty block, the last
	return written + int64(n)
}

// zeros is a zip of one file of zeros, which says that it has claimed bytes.
func zeros(t *testing.T, to io.Writer, size, claimed int64) {
	t.Helper()
	counted := deflated(t, io.Discard, size)
	writer := zip.NewWriter(to)
	raw, err := writer.CreateRaw(&zip.FileHeader{
		Name: "zeros", Method: zip.Deflate, UncompressedSize64: uint64(claimed), CompressedSize64: uint64(counted), CRC32: 1,
	})
	assert.NoError(t, err)
	deflated(t, raw, size)
	assert.NoError(t, writer.Close())
}

// manyEntries is a zip of so many empty files.
func manyEntries(t *testing.T, to io.Writer, count int) {
	t.Helper()
	writer := zip.NewWriter(to)
	for n := range count {
		_, err := writer.CreateRaw(&zip.FileHeader{Name: strconv.Itoa(n)})
		if !assert.NoError(t, err) {
			break
		}
	}
	assert.NoError(t, writer.Close())
}

// nested is a zip of one file in so many directories, each in the one before.
func nested(t *testing.T, to io.Writer, depth int) {
	t.Helper()
	_, err := to.Write(zipOf(t, file(string(bytes.Repeat([]byte("d/"), depth))+"x", "x")))
	assert.NoError(t, err)
}

// overlapping is a zip with one file of zeros, which its directory lists again and again under other names.
func overlapping(t *testing.T, to io.Writer, size, count int) {
	t.Helper()
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	assert.NoError(t, err)
	content := make([]byte, size)
	_, _ = w.Write(content)
	assert.NoError(t, w.Close())
	sum := crc32.ChecksumIEEE(content)

	le := binary.LittleEndian
	var out bytes.Buffer
	// The fields that a local header and one of the directory have in common.
	common := le.AppendUint16(le.AppendUint16(le.AppendUint16(nil, 20), 0), zip.Deflate)
	common = le.AppendUint32(common, 0) // the time
	common = le.AppendUint32(le.AppendUint32(le.AppendUint32(common, sum), uint32(packed.Len())), uint32(size))
	out.Write(append(le.AppendUint32(nil, 0x04034b50), common...))
	out.Write(le.AppendUint16(le.AppendUint16(nil, 5), 0))
	out.WriteString("00000")
	out.Write(packed.Bytes())
	start := out.Len()
	for n := range count {
		out.Write(le.AppendUint16(le.AppendUint32(nil, 0x02014b50), 20))
		out.Write(common)
		out.Write(le.AppendUint16(le.AppendUint16(nil, 5), 0)) // the lengths of name and extra
		out.Write(make([]byte, 2+2+2+4+4))                     // comment, disk, attributes, and where the file is: at 0
		out.WriteString(strconv.Itoa(10_000 + n))
	}
	end := le.AppendUint32(nil, 0x06054b50)
	end = le.AppendUint16(le.AppendUint16(end, 0), 0)
	end = le.AppendUint16(le.AppendUint16(end, uint16(count)), uint16(count))
	end = le.AppendUint32(le.AppendUint32(end, uint32(out.Len()-start)), uint32(start))
	out.Write(le.AppendUint16(end, 0))
	_, err = to.Write(out.Bytes())
	assert.NoError(t, err)
}

// tarOfZeros is a tar.gz of one file of zeros.
func tarOfZeros(t *testing.T, to io.Writer, size int64) {
	t.Helper()
	var begin bytes.Buffer
	writer := tar.NewWriter(&begin)
	assert.NoError(t, writer.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: size}))
	var head bytes.Buffer
	w, err := flate.NewWriter(&head, flate.BestSpeed)
	assert.NoError(t, err)
	_, _ = w.Write(begin.Bytes())
	assert.NoError(t, w.Flush())
	_, _ = to.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255})
	_, _ = to.Write(head.Bytes())
	deflated(t, to, size+blocks)
	_, _ = to.Write(make([]byte, 8)) // a checksum that is wrong, for whoever reads so far
}

// tarOf is a tar.gz of one entry without content.
func tarOf(t *testing.T, to io.Writer, header tar.Header) {
	t.Helper()
	packed := gzip.NewWriter(to)
	writer := tar.NewWriter(packed)
	assert.NoError(t, writer.WriteHeader(&header))
	assert.NoError(t, writer.Close())
	assert.NoError(t, packed.Close())
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
