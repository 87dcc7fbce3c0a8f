package archive

import (
	"archive/zip"
	"compress/flate"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

// UnpackZip unpacks a zip file into a directory, which is made when it is not there; nothing in it is replaced.
// Directories can always be entered and files read by their owner, whatever the zip says. When it fails the
// directory may hold a part.
//
// Everything that can be known from the zip's directory is checked before the first file is written.
func UnpackZip(ctx context.Context, file, dir string, options Options) (Unpacked, error) {
	options = options.withDefaults()
	f, err := os.Open(file)
	if err != nil {
		return Unpacked{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Unpacked{}, err
	}
	bounded, err := boundZip(ctx, f, info.Size(), options)
	if err != nil {
		return Unpacked{}, zipError("", err)
	}
	reader, err := zip.NewReader(bounded, bounded.size())
	if err != nil {
		return Unpacked{}, zipError("", err)
	}
	plan, err := planZip(ctx, reader.File, info.Size(), options)
	if err != nil {
		return Unpacked{}, err
	}
	root, err := openTarget(dir)
	if err != nil {
		return Unpacked{}, err
	}
	defer root.Close()
	used, err := plan.unpack(ctx, root, options)
	return Unpacked{Entries: plan.entries, Bytes: used}, err
}

// zipPlan is a zip whose names and links are known to be harmless.
type zipPlan struct {
	entries int
	files   []zipFile
	dirs    map[string]attributes
	links   links
	// targets is how many bytes the links' targets have.
	targets int64
}

type zipFile struct {
	name  string
	entry *zip.File
}

// maxZipLink is longer than any link's target on Linux.
const maxZipLink = maxName + 1

// planZip plans the entries of a file of so many bytes.
func planZip(ctx context.Context, entries []*zip.File, size int64, options Options) (*zipPlan, error) {
	p := &zipPlan{entries: len(entries), dirs: map[string]attributes{}, links: links{}}
	taken := make(map[string]bool, len(entries))
	var claimed, packed uint64
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name, err := cleanName(zipName(entry), options.FromContainer)
		if err != nil {
			return nil, err
		}
		if name == "." {
			continue
		}
		if err := p.add(name, entry, taken); err != nil {
			return nil, err
		}
		claimed += entry.UncompressedSize64
		if claimed > uint64(options.MaxBytes) || entry.UncompressedSize64 > uint64(options.MaxBytes) {
			return nil, tooManyBytes(options.MaxBytes)
		}
		// Each byte belongs to one entry: bombs are made of entries that share theirs, and so is endless work.
		packed += entry.CompressedSize64
		if packed > uint64(size) || entry.CompressedSize64 > uint64(size) {
			return nil, damaged("", errors.New("its entries overlap"))
		}
		if p.targets > options.maxNames() {
			return nil, namesTooLong()
		}
	}
	if err := p.addParents(taken, options); err != nil {
		return nil, err
	}
	if !options.FromContainer {
		return p, p.links.check(ctx)
	}
	return p, nil
}

// add takes an entry into the plan. taken has the names of files and links.
func (p *zipPlan) add(name string, entry *zip.File, taken map[string]bool) error {
	mode := zipType(entry)
	_, isDir := p.dirs[name]
	if taken[name] || (isDir && !mode.IsDir()) {
		return refuse(ErrConflict, entry.Name, "is there twice")
	}
	const encrypted = 0x1
	if entry.Flags&encrypted != 0 {
		return refuse(ErrUnsupported, entry.Name, "is encrypted")
	}
	switch {
	case mode.IsDir():
		p.dirs[name] = attributes{mode: zipMode(entry), modified: entry.Modified}
		return nil
	case mode.IsRegular():
		p.files = append(p.files, zipFile{name: name, entry: entry})
	case mode&fs.ModeType == fs.ModeSymlink:
		target, err := readZipLink(entry)
		if err != nil {
			return err
		}
		p.links[name] = target
		p.targets += int64(len(target))
	default:
		return refuse(ErrSpecial, entry.Name, "is neither a file nor a directory nor a link")
	}
	taken[name] = true
	return nil
}

// addParents takes the directories into the plan that the zip only implies, and refuses those that are something
// else at the same time.
func (p *zipPlan) addParents(taken map[string]bool, options Options) error {
	known := map[string]bool{".": true}
	visit := func(name string) error {
		for dir := path.Dir(name); !known[dir]; dir = path.Dir(dir) {
			if taken[dir] {
				return refuse(ErrConflict, name, "is beneath what is not a directory")
			}
			known[dir] = true
			if _, ok := p.dirs[dir]; !ok {
				p.dirs[dir] = attributes{mode: 0o755}
			}
			if len(taken)+len(p.dirs) > options.MaxEntries {
				return tooManyEntries(options.MaxEntries)
			}
		}
		return nil
	}
	for name := range taken {
		if err := visit(name); err != nil {
			return err
		}
	}
	explicit := make([]string, 0, len(p.dirs))
	for name := range p.dirs {
		explicit = append(explicit, name)
	}
	for _, name := range explicit {
		if taken[name] {
			return refuse(ErrConflict, name, "is there twice")
		}
		if err := visit(name); err != nil {
			return err
		}
	}
	return nil
}

// unpack writes what was planned and gives the number of bytes in the files.
func (p *zipPlan) unpack(ctx context.Context, root *os.Root, options Options) (int64, error) {
	t := newTree(root)
	defer t.Close()
	for name := range p.dirs {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := t.directory(name); err != nil {
			return 0, err
		}
	}
	m := newMeter(ctx, options.MaxBytes, options.MaxBytes)
	if err := p.unpackFiles(ctx, root, m); err != nil {
		return m.used.Load(), err
	}
	for name, target := range p.links {
		if err := t.link(name, target); err != nil {
			return m.used.Load(), err
		}
	}
	return m.used.Load(), t.finish(ctx, p.dirs)
}

// unpackFiles shares the files among as many goroutines as there are processors: inflating is most of the work.
func (p *zipPlan) unpackFiles(ctx context.Context, root *os.Root, m *meter) error {
	group, ctx := errgroup.WithContext(ctx)
	m.stopped = ctx.Err
	queue := make(chan zipFile)
	group.Go(func() error {
		defer close(queue)
		for _, f := range p.files {
			select {
			case queue <- f:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range min(runtime.GOMAXPROCS(0), max(len(p.files), 1)) {
		group.Go(func() error {
			t := newTree(root)
			defer t.Close()
			for f := range queue {
				if err := unpackZipFile(t, f, m); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func unpackZipFile(t *tree, f zipFile, m *meter) error {
	content, err := f.entry.Open()
	if err != nil {
		return zipError(f.entry.Name, err)
	}
	defer content.Close()
	attr := attributes{mode: zipMode(f.entry), modified: f.entry.Modified}
	return zipError(f.entry.Name, t.file(f.name, attr, m.reader(content)))
}

func readZipLink(entry *zip.File) (string, error) {
	content, err := entry.Open()
	if err != nil {
		return "", zipError(entry.Name, err)
	}
	defer content.Close()
	target, err := io.ReadAll(io.LimitReader(content, maxZipLink))
	if err != nil {
		return "", zipError(entry.Name, err)
	}
	return string(target), checkTarget(entry.Name, string(target))
}

// Systems that a zip was made on, the upper byte of CreatorVersion.
const (
	creatorFAT  = 0
	creatorNTFS = 11
	creatorVFAT = 14
)

func madeOnWindows(entry *zip.File) bool {
	switch entry.CreatorVersion >> 8 {
	case creatorFAT, creatorNTFS, creatorVFAT:
		return true
	}
	return false
}

// zipName is the entry's name. Old Windows tools separate with backslashes, against the format.
func zipName(entry *zip.File) string {
	if madeOnWindows(entry) && !strings.Contains(entry.Name, "/") {
		return strings.ReplaceAll(entry.Name, `\`, "/")
	}
	return entry.Name
}

// zipType is the entry's type; a name that ends with a separator is a directory's.
func zipType(entry *zip.File) fs.FileMode {
	if strings.HasSuffix(zipName(entry), "/") {
		return fs.ModeDir
	}
	return entry.Mode().Type()
}

// zipMode is the entry's permissions, its owner's always enough to work with it. Windows has none: what the zip
// package makes up for it is open to everybody.
func zipMode(entry *zip.File) fs.FileMode {
	mode := entry.Mode().Perm()
	if madeOnWindows(entry) {
		mode &^= 0o022
	}
	if zipType(entry).IsDir() {
		return mode | 0o700
	}
	return mode | 0o600
}

// zipError gives the errors of the zip package their sentence.
func zipError(name string, err error) error {
	var ours *Error
	switch {
	case err == nil, errors.As(err, &ours):
		return err
	case errors.Is(err, zip.ErrFormat) && name == "":
		return &Error{Words: "the file is not a zip", Cause: ErrNotArchive, Err: err}
	case errors.Is(err, zip.ErrAlgorithm):
		return &Error{Name: name, Words: "is compressed in a way that is not known here", Cause: ErrUnsupported, Err: err}
	case errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrChecksum), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, io.EOF), isCorrupt(err):
		return damaged(name, err)
	default:
		return err
	}
}

// isCorrupt tells the errors of the decompressor from those of the machine.
func isCorrupt(err error) bool {
	var (
		input  flate.CorruptInputError
		inside flate.InternalError
	)
	return errors.As(err, &input) || errors.As(err, &inside)
}
