// The cases of table.py with java.net.http as it is made by default: it offers HTTP/2 with every request (h2c).
// One array of facts for each, as JSON.
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

public class Client {
    static final String URL = System.getenv("ARGOSY_URL"), BEARER = "Bearer " + System.getenv("ARGOSY_KEY");
    static final Path SCAN = Path.of(System.getenv("SCAN")), LARGE = Path.of(System.getenv("LARGE"));
    static final String FORM = "multipart/form-data; boundary=b";
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    record Event(String id, String data) {}

    static HttpRequest.Builder at(String path) {
        return HttpRequest.newBuilder(URI.create(URL).resolve(path)).header("Authorization", BEARER);
    }

    static HttpResponse<String> sent(HttpRequest.Builder request) throws Exception {
        return CLIENT.send(request.build(), BodyHandlers.ofString());
    }

    static byte[] form(Path file) throws Exception {
        var body = new ByteArrayOutputStream();
        var head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"Schein für März.pdf\"\r\n\r\n";
        body.writeBytes(head.getBytes(StandardCharsets.UTF_8));
        body.writeBytes(Files.readAllBytes(file));
        body.writeBytes("\r\n--b--\r\n".getBytes(StandardCharsets.UTF_8));
        return body.toByteArray();
    }

    static HttpRequest.Builder upload(Path file) throws Exception {
        return upload(BodyPublishers.ofByteArray(form(file)));
    }

    static HttpRequest.Builder upload(BodyPublisher body) {
        return at("/v1/ocr").header("Content-Type", FORM).POST(body);
    }

    static HttpRequest.Builder byNobody(HttpRequest.Builder request) {
        return request.setHeader("Authorization", "Bearer nobody");
    }

    /** The member of a JSON document: Java has no reader of JSON. */
    static String member(String json, String name) {
        var found = Pattern.compile("\"" + name + "\":\"([^\"]*)\"").matcher(json);
        return found.find() ? found.group(1) : "";
    }

    static String ended(String location) throws Exception {
        for (;;) {
            var job = sent(at(location)).body();
            if (!member(job, "finished_at").isEmpty()) return job;
            Thread.sleep(200);
        }
    }

    static HttpResponse<Stream<String>> stream(String job, String last) throws Exception {
        var request = at("/v1/jobs/" + job + "/events");
        if (!last.isEmpty()) request.header("Last-Event-ID", last);
        return CLIENT.send(request.build(), BodyHandlers.ofLines());
    }

    static List<Event> events(Stream<String> lines, int most) {
        var seen = new ArrayList<Event>();
        var id = "";
        try (lines) {
            for (var each = lines.iterator(); seen.size() < most && each.hasNext(); ) {
                var line = each.next();
                if (line.startsWith("id: ")) id = line.substring(4);
                if (line.startsWith("data: ")) seen.add(new Event(id, line.substring(6)));
            }
        }
        return seen;
    }

    static String followed() throws Exception {
        var job = member(sent(upload(SCAN)).body(), "id");
        var first = events(stream(job, "").body(), 1).get(0);
        var seen = events(stream(job, first.id()).body(), 1000);
        var last = seen.get(seen.size() - 1);
        var repeated = seen.stream().anyMatch(event -> event.data().equals(first.data()));
        return list(repeated, member(last.data(), "state"), stream(job, last.id()).statusCode());
    }

    static String limited() throws Exception {
        HttpResponse<String> answer;
        do answer = sent(at("/v1/jobs"));
        while (answer.statusCode() == 200);
        Thread.sleep(1000 * answer.headers().firstValueAsLong("Retry-After").getAsLong());
        return list(answer.statusCode(), sent(at("/v1/jobs")).statusCode());
    }

    static String idle() throws Exception {
        var before = sent(at("/v1/limits")).statusCode();
        Thread.sleep(7000);
        var question = BodyPublishers.ofString("{\"filter\": {\"queue\": \"ocr\"}, \"dry_run\": true}");
        var asked = at("/v1/jobs/cancel").header("Content-Type", "application/json").POST(question);
        return list(before, sent(asked).statusCode());
    }

    static String download(String file) throws Exception {
        var part = sent(at(file).header("Range", "bytes=0-4"));
        var whole = CLIENT.send(at(file).build(), BodyHandlers.ofByteArray()).body();
        var unchanged = sent(at(file).header("If-None-Match", part.headers().firstValue("ETag").get()));
        var begins = new String(whole, 0, 4, StandardCharsets.US_ASCII);
        return list(part.statusCode(), part.body(), begins, unchanged.statusCode());
    }

    static String list(Object... facts) {
        return Stream.of(facts).map(fact -> fact instanceof String ? "\"" + fact + "\"" : fact.toString())
            .collect(Collectors.joining(", ", "[", "]"));
    }

    static String named(String name, String facts) {
        return "\"" + name + "\": " + facts;
    }

    public static void main(String[] arguments) throws Exception {
        var job = ended(sent(upload(SCAN)).headers().firstValue("Location").get());
        var start = job.substring(job.indexOf("\"name\":\"document.pdf\""));
        var waited = sent(upload(SCAN).header("Prefer", "wait=45"));
        var bytes = form(SCAN);
        var chunked = sent(upload(BodyPublishers.ofInputStream(() -> (InputStream) new ByteArrayInputStream(bytes))));
        var refused = list(sent(byNobody(upload(LARGE))).statusCode(), sent(upload(LARGE)).statusCode());
        var older = sent(upload(SCAN).version(HttpClient.Version.HTTP_1_1));
        var facts = List.of(
            named("upload", list(member(job, "state"), member(start, "filename"))),
            named("wait", list(waited.statusCode(), member(waited.body(), "state"))),
            named("chunked", list(chunked.statusCode())),
            named("refused", refused),
            named("limited", limited()),
            named("events", followed()),
            named("download", download(member(start, "url"))),
            named("idle", idle()),
            named("versions", list(sent(upload(SCAN)).statusCode(), older.statusCode())));
        System.out.println("{" + String.join(", ", facts) + "}");
    }
}
