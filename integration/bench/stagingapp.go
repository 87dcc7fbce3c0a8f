package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// madeApp is an app that is made of chance, the same one each time: files of words, as sources and their like are, and
// files that cannot be compressed, as images and archives are.
type madeApp struct {
	texts, blobs int
	// textBytes and blobBytes are how large they are together.
	textBytes, blobBytes int
}

// filesPerDirectory is about what a source tree has.
const filesPerDirectory = 40

// zip writes the app as a zip, as a user's client would upload it.
func (a madeApp) zip(path string) error {
	source := rand.NewChaCha8([32]byte{}) // of one seed, whichever
	chance := rand.New(source)
	words := vocabulary(chance)
	return writeZip(path, func(add addFile) error {
		for n, size := range sizes(chance, a.texts, a.textBytes) {
			if err := add(place(n, "txt"), 0o644, text(chance, words, size)); err != nil {
				return err
			}
		}
		for n, size := range sizes(chance, a.blobs, a.blobBytes) {
			content := make([]byte, size)
			_, _ = source.Read(content) // it never fails
			if err := add(place(n, "bin"), 0o644, content); err != nil {
				return err
			}
		}
		return nil
	})
}

func place(n int, kind string) string {
	return fmt.Sprintf("%s/%03d/file%05d.%s", kind, n/filesPerDirectory, n, kind)
}

// sizes shares bytes out among files as they are in a real tree: most are small, and a few have most of it.
func sizes(chance *rand.Rand, files, total int) []int {
	const spread = 1.2
	weights, sum := make([]float64, files), 0.0
	for n := range weights {
		weights[n] = math.Exp(spread * chance.NormFloat64())
		sum += weights[n]
	}
	shares, left := make([]int, files), total
	for n, weight := range weights {
		shares[n] = int(float64(total) * weight / sum)
		left -= shares[n]
	}
	shares[files-1] += left // of the rounding
	return shares
}

// vocabulary is so large that text of it compresses to about a third, as sources do.
func vocabulary(chance *rand.Rand) []string {
	words := make([]string, 4096)
	for n := range words {
		var word strings.Builder
		for range 2 + chance.IntN(9) {
			word.WriteByte(byte('a' + chance.IntN(26)))
		}
		words[n] = word.String()
	}
	return words
}

func text(chance *rand.Rand, words []string, size int) []byte {
	const wordsPerLine = 10
	content := make([]byte, 0, size+16)
	for n := 1; len(content) < size; n++ {
		content = append(content, words[chance.IntN(len(words))]...)
		if n%wordsPerLine == 0 {
			content = append(content, '\n')
		} else {
			content = append(content, ' ')
		}
	}
	return content[:size]
}

// buildpack is a classic one, which needs nothing of its container but a shell.
var buildpack = map[string]string{
	"bin/detect":  "#!/bin/sh\necho Bench\n",
	"bin/compile": "#!/bin/sh\necho '-----> Nothing to build'\necho built >\"$1/built\"\n",
	"bin/release": "#!/bin/sh\necho ---\necho default_process_types:\necho '  web: sleep 1000'\n",
}

// zipBuildpack writes the buildpack as an operator uploads it.
func zipBuildpack(path string) error {
	return writeZip(path, func(add addFile) error {
		for name, content := range buildpack {
			if err := add(name, 0o755, []byte(content)); err != nil {
				return err
			}
		}
		return nil
	})
}

// unpackBuildpack writes the buildpack's files into a directory.
func unpackBuildpack(dir string) error {
	for name, content := range buildpack {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // within one that is private
			return fmt.Errorf("write the buildpack: %w", err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil { //nolint:gosec // programs
			return fmt.Errorf("write the buildpack: %w", err)
		}
	}
	return nil
}

// addFile adds a file to a zip.
type addFile func(name string, mode fs.FileMode, content []byte) error

func writeZip(path string, fill func(addFile) error) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write a zip: %w", err)
	}
	writer := zip.NewWriter(file)
	err = fill(func(name string, mode fs.FileMode, content []byte) error {
		header := &zip.FileHeader{Name: name, Method: zip.Deflate}
		header.SetMode(mode)
		to, err := writer.CreateHeader(header)
		if err != nil {
			return err
		}
		_, err = to.Write(content)
		return err
	})
	if err = errors.Join(err, writer.Close(), file.Close()); err != nil {
		return fmt.Errorf("write a zip: %w", err)
	}
	return nil
}
