import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.transport.Netty4Plugin;

/** A real Elasticsearch of one node on 127.0.0.1: OneNode FOLDER PORT [setting=value …]. */
final class OneNode extends Node {
  private OneNode(Environment environment) {
    super(environment, List.of(Netty4Plugin.class), true);
  }

  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(arguments[0]).toAbsolutePath();
    Path config = Files.createDirectories(folder.resolve("config"));
    Settings.Builder settings = Settings.builder()
        .put("path.home", folder.toString())
        .put("cluster.name", "tests")
        .put("node.name", "one")
        .put("discovery.type", "single-node")
        .put("network.host", "127.0.0.1")
        .put("http.port", arguments[1])
        .put("transport.port", "0")
        .put("http.type", "netty4")
        .put("transport.type", "netty4")
        // A machine for tests may be nearly full.
        .put("cluster.routing.allocation.disk.threshold_enabled", false);
    for (int place = 2; place < arguments.length; place++) {
      String[] pair = arguments[place].split("=", 2);
      settings.put(pair[0], pair[1]);
    }
    OneNode node = new OneNode(new Environment(settings.build(), config));
    node.start();
    new CountDownLatch(1).await();
  }
}
