// Java's own HttpClient as it comes: it asks for HTTP/2, so its first request carries Upgrade: h2c.
// The lines in and out are described in as_programs.py.
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

public class Client {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split("\t");
            HttpRequest.Builder builder = HttpRequest.newBuilder(URI.create(arguments[0] + words[1]))
                .method(words[0], body(words[2], words[3]))
                .expectContinue(words[3].equals("expect"))
                .timeout(Duration.ofSeconds(60));
            for (int i = 1; i < arguments.length; i++) {
                String[] header = arguments[i].split(": ", 2);
                builder.header(header[0], header[1]);
            }
            HttpRequest request = builder.build();
            HttpResponse<byte[]> answer = client.send(request, BodyHandlers.ofByteArray());
            Files.write(Path.of(words[4]), answer.body());
            StringBuilder out = new StringBuilder(String.valueOf(answer.statusCode()));
            answer.headers().map().forEach((name, values) ->
                values.forEach(value -> out.append('\t').append(name).append(": ").append(value)));
            System.out.println(out);
        }
    }

    // A stream has no length that the client could know: it is sent in chunks.
    static BodyPublisher body(String file, String mode) throws Exception {
        if (file.equals("-")) return BodyPublishers.noBody();
        byte[] content = Files.readAllBytes(Path.of(file));
        if (!mode.equals("chunked")) return BodyPublishers.ofByteArray(content);
        return BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(content));
    }
}
