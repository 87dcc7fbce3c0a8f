package api

import "time"

// FileType says what an entry of a directory is.
type FileType string

// The types of entries. A link is one whatever it leads to; other is what cannot be read, such as a fifo or a device.
const (
	FileTypeFile      FileType = "file"
	FileTypeDirectory FileType = "directory"
	FileTypeLink      FileType = "link"
	FileTypeOther     FileType = "other"
)

// FileListing is what a node's directory server says of a directory.
type FileListing struct {
	// Path is the directory's, as it was asked for: slash-separated, relative to the instance's or staging's directory.
	Path string `json:"path"`
	// Entries are sorted by name; never nil.
	Entries []FileEntry `json:"entries"`
	// Truncated says that the directory has more entries than are listed.
	Truncated bool `json:"truncated"`
}

// FileEntry is one entry of a directory, which was looked at and not followed.
type FileEntry struct {
	// Name is its name alone. In JSON each byte of it that is no UTF-8 is U+FFFD.
	Name string   `json:"name"`
	Type FileType `json:"type"`
	// Size is a file's in bytes; 0 for all else.
	Size int64 `json:"size"`
	// Mode is its permissions in octal, as chmod takes them: "0644".
	Mode string `json:"mode"`
	// Modified is when its content was changed last, as the app may well have made it up.
	Modified time.Time `json:"modified"`
}
