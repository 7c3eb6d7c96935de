// Tomcat with servlets mapped to paths and with virtual hosts: java -cp JARS Tomcat.java PORT DIRECTORY

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Collectors;
import org.apache.catalina.Context;
import org.apache.catalina.Host;
import org.apache.catalina.core.StandardHost;

class Witness {
    public static void main(String[] arguments) throws Exception {
        Logger.getLogger("").setLevel(Level.SEVERE);
        var tomcat = new org.apache.catalina.startup.Tomcat();
        tomcat.setBaseDir(arguments[1]);
        tomcat.setPort(Integer.parseInt(arguments[0]));
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        serve(tomcat, tomcat.getHost(), "", arguments[1]);
        // No IPv6 address can be the name of one of its hosts.
        for (String site : List.of("admin.test", "192.0.2.7")) {
            Host host = new StandardHost();
            host.setName(site);
            tomcat.getEngine().addChild(host);
            serve(tomcat, host, site, arguments[1]);
        }
        tomcat.start();
        tomcat.getServer().await();
    }

    static void serve(org.apache.catalina.startup.Tomcat tomcat, Host host, String site, String directory) {
        Context context = tomcat.addContext(host, "", directory);
        for (var entry : Map.of("admin", "/admin/*", "items", "/items/*", "open", "/").entrySet()) {
            String name = entry.getKey();
            org.apache.catalina.startup.Tomcat.addServlet(context, name, new Reporter(name, site));
            context.addServletMappingDecoded(entry.getValue(), name);
        }
    }
}

class Reporter extends HttpServlet {
    private static final List<String> CHANGING = List.of("POST", "PUT", "PATCH", "DELETE");
    private final String handler;
    private final String site;

    Reporter(String handler, String site) {
        this.handler = handler;
        this.site = site;
    }

    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
        request.getInputStream().readAllBytes();
        boolean changes = handler.equals("items") && CHANGING.contains(request.getMethod());
        String fields = Collections.list(request.getHeaderNames()).stream()
            .flatMap(name -> Collections.list(request.getHeaders(name)).stream().map(value -> pair(name, value)))
            .collect(Collectors.joining(","));
        String info = request.getPathInfo() == null ? "" : request.getPathInfo();
        String report = "{\"method\":" + quoted(request.getMethod())
            + ",\"path\":" + quoted(request.getServletPath() + info)
            + ",\"raw\":" + quoted(request.getRequestURI())
            + ",\"host\":" + quoted(request.getServerName())
            + ",\"site\":" + quoted(site)
            + ",\"handler\":" + quoted(changes ? "change" : handler)
            + ",\"remote\":" + quoted(request.getRemoteAddr())
            + ",\"fields\":[" + fields + "]}";
        byte[] body = report.getBytes(StandardCharsets.UTF_8);
        response.setContentType("application/json");
        response.setContentLength(body.length);
        response.getOutputStream().write(body);
    }

    private static String pair(String name, String value) {
        return "[" + quoted(name.toLowerCase()) + "," + quoted(value) + "]";
    }

    private static String quoted(String text) {
        var quoted = new StringBuilder("\"");
        for (char one : text.toCharArray()) {
            boolean plain = one >= ' ' && one <= '~' && one != '"' && one != '\\';
            quoted.append(plain ? String.valueOf(one) : String.format("\\u%04x", (int) one));
        }
        return quoted.append('"').toString();
    }
}
