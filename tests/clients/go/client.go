// The cases of table.py with Go's net/http: one array of facts for each, as JSON.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

type job struct {
	ID         string
	State      string
	FinishedAt *string `json:"finished_at"`
	Artifacts  []struct{ Name, Filename, URL string }
}

type event struct{ id, data string }

var base, scan, large = os.Getenv("ARGOSY_URL"), os.Getenv("SCAN"), os.Getenv("LARGE")

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// call sends a request with the key, unless `fields` (pairs of name and value) say otherwise.
func call(method, path string, body io.Reader, fields ...string) *http.Response {
	at := must(must(url.Parse(base)).Parse(path))
	request := must(http.NewRequest(method, at.String(), body))
	request.Header.Set("Authorization", "Bearer "+os.Getenv("ARGOSY_KEY"))
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	return must(http.DefaultClient.Do(request))
}

func read(answer *http.Response) []byte {
	defer answer.Body.Close()
	return must(io.ReadAll(answer.Body))
}

func status(answer *http.Response) int {
	read(answer)
	return answer.StatusCode
}

func form(path string) (*bytes.Buffer, string) {
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	part := must(writer.CreateFormFile("file", "Schein für März.pdf"))
	must(part.Write(must(os.ReadFile(path))))
	writer.Close()
	return &body, writer.FormDataContentType()
}

func submit(path string, fields ...string) *http.Response {
	body, mediaType := form(path)
	return call("POST", "/v1/ocr", body, append(fields, "Content-Type", mediaType)...)
}

func document(answer *http.Response) (found job) {
	if err := json.Unmarshal(read(answer), &found); err != nil {
		panic(err)
	}
	return
}

func ended(location string) job {
	for {
		if found := document(call("GET", location, nil)); found.FinishedAt != nil {
			return found
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func chunked() int {
	body, mediaType := form(scan)
	return status(call("POST", "/v1/ocr", io.MultiReader(body), "Content-Type", mediaType)) // of unknown length
}

func events(id, last string, most int) (seen []event, code int) {
	answer := call("GET", "/v1/jobs/"+id+"/events", nil, "Last-Event-ID", last)
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	var current event
	for len(seen) < most && lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case name == "id":
			current.id = value
		case name == "data":
			current.data = value
		case name == "" && current.id != "":
			seen, current = append(seen, current), event{}
		}
	}
	return seen, answer.StatusCode
}

func followed() []any {
	id := document(submit(scan)).ID
	first, _ := events(id, "", 1)
	seen, _ := events(id, first[0].id, 1000)
	repeated := false
	for _, one := range seen {
		repeated = repeated || one.data == first[0].data
	}
	var last job
	json.Unmarshal([]byte(seen[len(seen)-1].data), &last)
	_, code := events(id, seen[len(seen)-1].id, 1)
	return []any{repeated, last.State, code}
}

func limited() []any {
	for {
		answer := call("GET", "/v1/jobs", nil)
		if status(answer) != 200 {
			time.Sleep(time.Duration(must(strconv.Atoi(answer.Header.Get("Retry-After")))) * time.Second)
			return []any{answer.StatusCode, status(call("GET", "/v1/jobs", nil))}
		}
	}
}

func idle() []any {
	before := status(call("GET", "/v1/limits", nil))
	time.Sleep(7 * time.Second)
	question := strings.NewReader(`{"filter": {"queue": "ocr"}, "dry_run": true}`)
	return []any{before, status(call("POST", "/v1/jobs/cancel", question, "Content-Type", "application/json"))}
}

func main() {
	done := ended(submit(scan).Header.Get("Location"))
	file := done.Artifacts[0]
	for _, artifact := range done.Artifacts {
		if artifact.Name == "document.pdf" {
			file = artifact
		}
	}
	waited := submit(scan, "Prefer", "wait=45")
	part := call("GET", file.URL, nil, "Range", "bytes=0-4")
	begins := string(read(part))
	whole := string(read(call("GET", file.URL, nil))[:4])
	unchanged := status(call("GET", file.URL, nil, "If-None-Match", part.Header.Get("ETag")))
	facts := map[string][]any{
		"upload":   {done.State, file.Filename},
		"wait":     {waited.StatusCode, document(waited).State},
		"chunked":  {chunked()},
		"refused":  {status(submit(large, "Authorization", "Bearer nobody")), status(submit(large))},
		"expect":   {status(submit(large, "Authorization", "Bearer nobody", "Expect", "100-continue")), status(submit(scan, "Expect", "100-continue"))},
		"limited":  limited(),
		"events":   followed(),
		"download": {part.StatusCode, begins, whole, unchanged},
		"idle":     idle(),
	}
	os.Stdout.Write(must(json.Marshal(facts)))
}
