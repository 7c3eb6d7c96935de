#!/usr/bin/perl
# A CGI program that reports its environment; for lighttpd and apache. The server's own configuration says which handler
# and which site it chose. In Perl, since every Debian has that where any user may run it.
use strict;
use warnings;

sub quoted {
    my ($text) = @_;
    $text =~ s/([^ !#-\[\]-~])/sprintf '\u%04x', ord $1/ge;
    return "\"$text\"";
}

my $body = do { local $/; <STDIN> };
my $handler = $ENV{HANDLER} // 'open';
$handler = 'change' if $handler eq 'items' and $ENV{REQUEST_METHOD} =~ /^(?:POST|PUT|PATCH|DELETE)$/;
my %report = (
    method  => $ENV{REQUEST_METHOD},
    path    => $ENV{PATH_INFO} // '',
    raw     => $ENV{REQUEST_URI} // '',
    host    => $ENV{HTTP_HOST} // '',
    site    => $ENV{SITE} // '',
    handler => $handler,
    remote  => $ENV{REMOTE_ADDR} // '',
);
my $fields = join ',', map { '[' . quoted($_) . ',' . quoted($ENV{$_}) . ']' } sort keys %ENV;
my $said = join ',', map { quoted($_) . ':' . quoted($report{$_}) } sort keys %report;
my $json = "{$said,\"fields\":[$fields]}";
print "Content-Type: application/json\r\nContent-Length: ", length $json, "\r\n\r\n", $json;
