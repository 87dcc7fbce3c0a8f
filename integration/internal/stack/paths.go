package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// programs are what `make build` makes.
var programs = []string{"devserver", "worker", "wardend", "starter", "dea-runner", "staticd"}

// Root is the repository's root directory, found from the working directory upwards.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "docker-compose.yml")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("find the repository: not below its root")
		}
		dir = up
	}
}

// Bin is the path of a program in bin/. It fails, and says what to do, when any program is missing.
func Bin(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(root, "bin", program)); err != nil {
			return "", fmt.Errorf("bin/%s is missing: run `make build` first", program)
		}
	}
	return filepath.Join(root, "bin", name), nil
}

// Example is the directory of an example app.
func Example(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "examples", name)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("example app: %w", err)
	}
	return dir, nil
}
