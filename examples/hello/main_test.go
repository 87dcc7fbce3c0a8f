package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	t.Setenv("CF_INSTANCE_INDEX", "3")
	t.Setenv("SECRET", "geheim")
	exited := make(chan int, 1)
	server := httptest.NewServer(routes(func(status int) { exited <- status }))
	defer server.Close()

	if got := get(t, server.URL+"/"); got != "Hello from instance 3 of hello\n" {
		t.Errorf("/ answered %q", got)
	}
	if got := get(t, server.URL+"/env"); !strings.Contains(got, "CF_INSTANCE_INDEX=3\n") || strings.Contains(got, "geheim") {
		t.Errorf("/env answered %q", got)
	}
	get(t, server.URL+"/exit?status=7")
	if status := <-exited; status != 7 {
		t.Errorf("/exit ended with %d", status)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
