// A server with .NET's sockets, of the kind that the document's client talks to: it collects what a
// client sends until <EOF>, sends it back and closes.
//
//     mono EofServer.exe async|sync
//
// Prints the port that the system has chosen.

using System;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading;

static class EofServer
{
    class StateObject
    {
        public readonly byte[] Buffer = new byte[1024];
        public readonly StringBuilder Text = new StringBuilder();
        public Socket WorkSocket;
    }

    static readonly ManualResetEvent allDone = new ManualResetEvent(false);

    static void Main(string[] args)
    {
        var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(100);
        Console.WriteLine(((IPEndPoint)listener.LocalEndPoint).Port);
        while (true)
        {
            if (args[0] == "async")
            {
                allDone.Reset();
                listener.BeginAccept(AcceptCallback, listener);
                allDone.WaitOne();
            }
            else
            {
                Serve(listener.Accept());
            }
        }
    }

    static void AcceptCallback(IAsyncResult ar)
    {
        allDone.Set();
        var handler = ((Socket)ar.AsyncState).EndAccept(ar);
        Receive(new StateObject { WorkSocket = handler });
    }

    static void Receive(StateObject state)
    {
        state.WorkSocket.BeginReceive(
            state.Buffer, 0, state.Buffer.Length, SocketFlags.None, ReadCallback, state);
    }

    static void ReadCallback(IAsyncResult ar)
    {
        var state = (StateObject)ar.AsyncState;
        try
        {
            int read = state.WorkSocket.EndReceive(ar);
            if (read == 0)
            {
                state.WorkSocket.Close();
                return;
            }
            state.Text.Append(Encoding.ASCII.GetString(state.Buffer, 0, read));
            if (!state.Text.ToString().Contains("<EOF>"))
            {
                Receive(state);
                return;
            }
            byte[] echo = Encoding.ASCII.GetBytes(state.Text.ToString());
            state.WorkSocket.BeginSend(echo, 0, echo.Length, SocketFlags.None, SendCallback, state.WorkSocket);
        }
        catch (SocketException)
        {
            state.WorkSocket.Close();
        }
    }

    static void SendCallback(IAsyncResult ar)
    {
        var handler = (Socket)ar.AsyncState;
        handler.EndSend(ar);
        handler.Shutdown(SocketShutdown.Both);
        handler.Close();
    }

    static void Serve(Socket handler)
    {
        var buffer = new byte[1024];
        string text = "";
        while (!text.Contains("<EOF>"))
        {
            int read = handler.Receive(buffer);
            if (read == 0) break;
            text += Encoding.ASCII.GetString(buffer, 0, read);
        }
        handler.Send(Encoding.ASCII.GetBytes(text));
        handler.Shutdown(SocketShutdown.Both);
        handler.Close();
    }
}
